//! The images of the examples, built on the spot from busybox: no registry is needed to try Catamaran.

use std::path::Path;

use anyhow::Context;

/// Two versions, so that `kubectl set image` and `rollout undo` have somewhere to go.
const EXAMPLES: &[&str] = &["localhost/catamaran/example-web:1", "localhost/catamaran/example-web:2"];

/// Writes the examples' archives into a directory from which the executor imports them.
pub fn build_examples(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    for name in EXAMPLES {
        let file = directory.join(format!("{}.tar", name.replace(['/', ':'], "-")));
        if file.exists() {
            continue;
        }
        let archive = kubelet_executor::runtime::images::build_busybox_image(name, &[], &["/bin/sh"])
            .with_context(|| format!("cannot build {name}"))?;
        // In one step: the executor must never see half an archive.
        let unfinished = file.with_extension("new");
        std::fs::write(&unfinished, archive)
            .with_context(|| format!("cannot write {}", unfinished.display()))?;
        std::fs::rename(&unfinished, &file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
