//! `catamaran images`: imports archives into the container runtime of this machine's node, and lists its images.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, ensure};
use kubelet_executor::runtime::image_store::{ImageStore, ImageStoreError, WaitingArchives};
use serde_json::{Value, json};

use crate::{
    arguments::verbs::{ImagesVerb, ImportImages, ListImages},
    data_directory::{elsewhere, running},
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

/// The images of a node.
enum Images {
    /// Of a node whose container runtime runs.
    Stored(ImageStore),
    /// Of a node that has not had a Pod yet, whose runtime starts with the first one.
    Waiting(WaitingArchives),
}

/// The images of the node with this data directory, and the node's files.
async fn connect(data_dir: Option<&Path>) -> anyhow::Result<(Images, NodeFiles)> {
    let data = running::choose(data_dir);
    let files = NodeFiles::below(&data);
    ensure!(
        files.config().exists(),
        "no agent has run with the data directory {}; name another one with --data-dir{}",
        data.display(),
        elsewhere::hint(&data)
    );
    let config = files.read_config()?;
    let images = match (ImageStore::connect(&config).await, WaitingArchives::of(&config)) {
        (Ok(store), _) => Images::Stored(store),
        (Err(ImageStoreError::NoRuntime(..)), Some(waiting)) if !kubelet_executor::executor_runs(&config) => {
            Images::Waiting(waiting)
        }
        (Err(error), _) => return Err(error.into()),
    };
    Ok((images, files))
}

async fn import(arguments: &ImportImages) -> anyhow::Result<()> {
    let (images, files) = connect(arguments.node.data_dir.as_deref()).await?;
    let mut imported = Vec::new();
    for path in &arguments.files {
        let mut archive: Box<dyn Read> = match path == Path::new("-") {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?),
        };
        let names = match &images {
            Images::Stored(store) => store.import(&mut archive, &files.root.join("import")).await,
            Images::Waiting(waiting) => waiting.add(&mut archive).await,
        };
        imported.extend(names.with_context(|| format!("cannot import {}", path.display()))?);
    }
    let (state, note) = match &images {
        Images::Stored(_) => ("imported", ""),
        Images::Waiting(_) => ("waiting", " (imported when the machine's first Pod starts)"),
    };
    let text = || imported.iter().fold(String::new(), |text, name| format!("{text}{state} {name}{note}\n"));
    arguments.node.output.print(text, || json!({state: imported}));
    Ok(())
}

async fn list(arguments: &ListImages) -> anyhow::Result<()> {
    let (images, waiting) = match connect(arguments.node.data_dir.as_deref()).await?.0 {
        Images::Stored(store) => (store.list().await?, Vec::new()),
        Images::Waiting(waiting) => (Vec::new(), waiting.names().await),
    };
    let text = || {
        let mut rows = vec![["IMAGE", "IMAGE ID", "SIZE"].map(str::to_owned).to_vec()];
        for image in &images {
            let names = if image.tags.is_empty() { &image.digests } else { &image.tags };
            let id = image.id.trim_start_matches("sha256:");
            for name in names {
                rows.push(vec![name.clone(), id.chars().take(12).collect(), output::bytes(image.bytes)]);
            }
        }
        rows.extend(waiting.iter().map(|name| vec![name.clone(), "<waiting>".to_owned(), String::new()]));
        output::table(&rows)
    };
    let json = || {
        let rows = images.iter().map(|image| {
            json!({"id": image.id, "tags": image.tags, "digests": image.digests, "bytes": image.bytes})
        });
        json!({"images": rows.collect::<Vec<Value>>(), "waiting": waiting})
    };
    arguments.node.output.print(text, json);
    Ok(())
}
