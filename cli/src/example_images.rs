//! Builds the example images from busybox, so that trying Catamaran needs no image registry.

use std::path::Path;

use anyhow::Context;

/// Two versions, for `kubectl set image` and `rollout undo`.
const EXAMPLES: &[&str] = &["localhost/catamaran/example-web:1", "localhost/catamaran/example-web:2"];

/// Writes the image archives into the directory from which the executor imports them.
pub fn build_examples(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    for name in EXAMPLES {
        let file = directory.join(format!("{}.tar", name.replace(['/', ':'], "-")));
        let archive = kubelet_executor::runtime::images::build_busybox_image(name, &[], &["/bin/sh"])
            .with_context(|| format!("cannot build {name}"))?;
        // After a crash of the machine, a file may be there without its content.
        if std::fs::read(&file).is_ok_and(|written| written == archive) {
            continue;
        }
        kubelet_executor::runtime::images::write(&file, &archive)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
