//! The software bill of materials: every crate that the binary is linked from, in CycloneDX's form.

use anyhow::Context;
use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, NodeDep, Package, PackageId};
use cyclonedx_bom::{
    external_models::uri::Purl,
    models::{
        bom::Bom,
        component::{Classification, Component, Components},
        dependency::{Dependencies, Dependency},
        license::{LicenseChoice, Licenses},
        metadata::Metadata as BomMetadata,
    },
};

/// The package of the binary.
const PACKAGE: &str = "catamaran";

/// The workspace and its dependencies for a target, at the versions of Cargo.lock.
pub fn metadata(target: &str) -> anyhow::Result<Metadata> {
    MetadataCommand::new()
        .features(CargoOpt::AllFeatures)
        .other_options(["--locked", "--filter-platform", target].map(str::to_owned))
        .exec()
        .context("cannot ask cargo for the dependencies")
}

/// The version of the binary.
pub fn version(metadata: &Metadata) -> anyhow::Result<String> {
    Ok(binary(metadata)?.version.to_string())
}

fn binary(metadata: &Metadata) -> anyhow::Result<&Package> {
    let found = metadata.packages.iter().find(|package| package.name.as_str() == PACKAGE);
    found.context("the workspace has no package catamaran")
}

/// The bill of materials as JSON.
pub fn render(metadata: &Metadata) -> anyhow::Result<Vec<u8>> {
    let root = &binary(metadata)?.id;
    let linked = linked(metadata, root)?;
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for (id, uses) in &linked {
        let part = component(&metadata[id])?;
        if *id != root {
            components.push(part);
        }
        dependencies.push(Dependency {
            dependency_ref: reference(&metadata[id]),
            dependencies: uses.iter().map(|id| reference(&metadata[id])).collect(),
        });
    }
    let bom = Bom {
        // The serial number is random by default, and the results must be reproducible.
        serial_number: None,
        metadata: Some(BomMetadata {
            component: Some(component(&metadata[root])?),
            ..BomMetadata::default()
        }),
        components: Some(Components(components)),
        dependencies: Some(Dependencies(dependencies)),
        ..Bom::default()
    };
    let mut json = Vec::new();
    bom.output_as_json_v1_5(&mut json)?;
    Ok(json)
}

/// Every package that ends in the binary, with the packages that it uses. Procedural macros and build scripts do not.
fn linked<'a>(
    metadata: &'a Metadata,
    root: &'a PackageId,
) -> anyhow::Result<Vec<(&'a PackageId, Vec<&'a PackageId>)>> {
    let graph = metadata.resolve.as_ref().context("cargo has resolved no dependencies")?;
    let is_macro = |id: &PackageId| metadata[id].targets.iter().all(|target| target.is_proc_macro());
    let normal = |dep: &&NodeDep| {
        dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) && !is_macro(&dep.pkg)
    };
    let mut found: Vec<(&PackageId, Vec<&PackageId>)> = Vec::new();
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        if found.iter().any(|(known, _)| *known == id) {
            continue;
        }
        let node = graph.nodes.iter().find(|node| node.id == *id).context("a package is not in the graph")?;
        let uses: Vec<&PackageId> = node.deps.iter().filter(normal).map(|dep| &dep.pkg).collect();
        open.extend(&uses);
        found.push((id, uses));
    }
    found.sort_by_key(|(id, _)| *id);
    Ok(found)
}

/// The name of a package in the bill. Cargo's own id of a package of the workspace has the directory of the build.
fn reference(package: &Package) -> String {
    format!("{}@{}", package.name, package.version)
}

fn component(package: &Package) -> anyhow::Result<Component> {
    let kind = match package.name.as_str() {
        PACKAGE => Classification::Application,
        _ => Classification::Library,
    };
    let version = package.version.to_string();
    let mut component = Component::new(kind, package.name.as_str(), &version, Some(reference(package)));
    component.purl = Some(Purl::new("cargo", package.name.as_str(), &version)?);
    // Older crates separate alternatives with a slash.
    let license = package.license.as_ref().map(|license| license.replace('/', " OR "));
    component.licenses = license.map(|license| Licenses(vec![LicenseChoice::expression(&license)]));
    Ok(component)
}

#[cfg(test)]
mod tests {
    //! The bill of this workspace.

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn references_are_unique_and_do_not_depend_on_the_directory_of_the_build() {
        let metadata = metadata("x86_64-unknown-linux-gnu").unwrap();
        let bill: serde_json::Value = serde_json::from_slice(&render(&metadata).unwrap()).unwrap();
        let named = |component: &serde_json::Value| component["bom-ref"].as_str().unwrap().to_owned();
        let components = bill["components"].as_array().unwrap();
        let mut references: BTreeSet<String> = components.iter().map(named).collect();
        assert_eq!(references.len(), components.len());
        references.insert(named(&bill["metadata"]["component"]));
        let known = |reference: &serde_json::Value| references.contains(reference.as_str().unwrap());
        for dependency in bill["dependencies"].as_array().unwrap() {
            assert!(known(&dependency["ref"]), "{dependency}");
            assert!(dependency["dependsOn"].as_array().into_iter().flatten().all(known), "{dependency}");
        }
        assert!(!bill.to_string().contains(env!("CARGO_MANIFEST_DIR").trim_end_matches("dist")));
    }
}
