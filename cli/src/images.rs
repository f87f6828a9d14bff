//! `catamaran images`: imports archives into the container runtime of this machine's node, and lists its images.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, ensure};
use kubelet_executor::runtime::image_store::ImageStore;
use serde_json::{Value, json};

use crate::{
    arguments::verbs::{ImagesVerb, ImportImages, ListImages},
    data_directory::running,
    node::NodeFiles,
    output, runtime,
};

/// `catamaran images`.
pub fn run(verb: &ImagesVerb) -> anyhow::Result<()> {
    runtime::block_on(async {
        match verb {
            ImagesVerb::Import(arguments) => import(arguments).await,
            ImagesVerb::List(arguments) => list(arguments).await,
        }
    })
}

/// The image store of the node with this data directory, and the node's files.
async fn connect(data_dir: Option<&Path>) -> anyhow::Result<(ImageStore, NodeFiles)> {
    let data = running::choose(data_dir);
    let files = NodeFiles::below(&data);
    ensure!(
        files.config().exists(),
        "no agent has run with the data directory {}; name another one with --data-dir",
        data.display()
    );
    Ok((ImageStore::connect(&files.read_config()?).await?, files))
}

async fn import(arguments: &ImportImages) -> anyhow::Result<()> {
    let (store, files) = connect(arguments.node.data_dir.as_deref()).await?;
    let mut imported = Vec::new();
    for path in &arguments.files {
        let mut archive: Box<dyn Read> = match path == Path::new("-") {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?),
        };
        let names = store.import(&mut archive, &files.root.join("import")).await;
        imported.extend(names.with_context(|| format!("cannot import {}", path.display()))?);
    }
    let text = || imported.iter().fold(String::new(), |text, name| format!("{text}imported {name}\n"));
    arguments.node.output.print(text, || json!({"imported": imported}));
    Ok(())
}

async fn list(arguments: &ListImages) -> anyhow::Result<()> {
    let (store, _) = connect(arguments.node.data_dir.as_deref()).await?;
    let images = store.list().await?;
    let text = || {
        let mut rows = vec![["IMAGE", "IMAGE ID", "SIZE"].map(str::to_owned).to_vec()];
        for image in &images {
            let names = if image.tags.is_empty() { &image.digests } else { &image.tags };
            let id = image.id.trim_start_matches("sha256:");
            for name in names {
                rows.push(vec![name.clone(), id.chars().take(12).collect(), output::bytes(image.bytes)]);
            }
        }
        output::table(&rows)
    };
    let json = || {
        let rows = images.iter().map(|image| {
            json!({"id": image.id, "tags": image.tags, "digests": image.digests, "bytes": image.bytes})
        });
        json!({"images": rows.collect::<Vec<Value>>()})
    };
    arguments.node.output.print(text, json);
    Ok(())
}
