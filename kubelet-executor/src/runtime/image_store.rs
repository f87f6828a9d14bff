//! The images of a node, for its operator: imported from a file into the runtime of a running node, and listed.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use cri::v1;

use super::{archives, containerd, images};
use crate::config::Config;

/// How long the runtime may take to show an imported image: it learns of it by an event.
const SHOWN_AFTER: Duration = Duration::from_secs(10);
/// Polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The longest name of a file that waits, without its suffix, in characters.
const FILE_NAME_MAX: usize = 200;

/// Why the images of a node cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ImageStoreError {
    #[error("the container runtime at {0} does not answer; start the agent of this machine first")]
    NoRuntime(PathBuf, #[source] cri::Error),
    #[error("reading the archive")]
    Read(#[source] io::Error),
    #[error("the runtime does not take it: {0}")]
    Refused(String),
    #[error(transparent)]
    Import(images::ImageError),
    #[error("the archive names no image; save it by its name, as with: docker save NAME:TAG")]
    Unnamed,
    #[error("the runtime does not show the imported image {0}")]
    NotShown(String),
}

/// An image of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StoredImage {
    /// The digest of its configuration.
    pub id: String,
    pub tags: Vec<String>,
    pub digests: Vec<String>,
    pub bytes: u64,
}

/// The archives that a node imports when its runtime starts, which is with its first Pod or framework task with an image.
pub struct WaitingArchives {
    dir: PathBuf,
}

impl WaitingArchives {
    /// The archives of a node with a runtime of its own; `None` if it uses one that others start.
    pub fn of(config: &Config) -> Option<Self> {
        config.cri_endpoint.is_none().then(|| Self { dir: config.images_dir() })
    }

    /// Adds an archive, and returns the names of its images. One with the same names is replaced.
    pub async fn add(&self, archive: &mut dyn Read) -> Result<Vec<String>, ImageStoreError> {
        let (copy, mut file) = tempfile_in(&self.dir).map_err(ImageStoreError::Read)?;
        io::copy(archive, &mut file).and_then(|_| file.sync_all()).map_err(ImageStoreError::Read)?;
        let names = images::names_of(&copy.0).await.map_err(|error| without_copy(error, &copy.0))?;
        if names.is_empty() {
            return Err(ImageStoreError::Unnamed);
        }
        let file_name = names.join("+").replace(|char: char| !char.is_ascii_alphanumeric(), "-");
        let file_name: String = file_name.chars().take(FILE_NAME_MAX).collect();
        std::fs::rename(&copy.0, self.dir.join(format!("{file_name}.tar"))).map_err(ImageStoreError::Read)?;
        Ok(names)
    }

    /// The names of the images of all archives, sorted. Files that are no archives have none.
    pub async fn names(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for path in archives::of_directory(&self.dir) {
            names.extend(images::names_of(&path).await.unwrap_or_default());
        }
        names.into_iter().collect()
    }
}

/// The image store of a node.
pub struct ImageStore {
    socket: PathBuf,
    client: cri::Client,
}

impl ImageStore {
    /// Connects to the runtime of a running node.
    pub async fn connect(config: &Config) -> Result<Self, ImageStoreError> {
        let socket = match &config.cri_endpoint {
            Some(endpoint) => PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint)),
            None => containerd::Paths::of(config).socket,
        };
        let failed = |error| ImageStoreError::NoRuntime(socket.clone(), error);
        let client = cri::Client::new(&socket).map_err(failed)?;
        client.version(v1::VersionRequest::default()).await.map_err(failed)?;
        Ok(Self { socket, client })
    }

    /// The runtime's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// All images, ordered by their first tag.
    pub async fn list(&self) -> Result<Vec<StoredImage>, ImageStoreError> {
        let listed = self.client.list_images(v1::ListImagesRequest::default()).await;
        let listed = listed.map_err(|error| ImageStoreError::NoRuntime(self.socket.clone(), error))?;
        let mut images: Vec<StoredImage> = listed
            .images
            .into_iter()
            .map(|image| StoredImage {
                id: image.id,
                tags: image.repo_tags,
                digests: image.repo_digests,
                bytes: image.size,
            })
            .collect();
        images.sort_by(|a, b| (&a.tags, &a.id).cmp(&(&b.tags, &b.id)));
        Ok(images)
    }

    /// Imports a docker-archive or OCI archive, plain or compressed with gzip, and returns the names of its images once the
    /// runtime shows them. `scratch` is a directory with room for the archive.
    pub async fn import(
        &self,
        archive: &mut dyn Read,
        scratch: &Path,
    ) -> Result<Vec<String>, ImageStoreError> {
        let mut file = tempfile_in(scratch).map_err(ImageStoreError::Read)?;
        io::copy(archive, &mut file.1).map_err(ImageStoreError::Read)?;
        let imported = images::import(&self.socket, &file.0.0).await;
        let names = imported.map_err(|error| without_copy(error, &file.0.0))?;
        if names.is_empty() {
            return Err(ImageStoreError::Unnamed);
        }
        for name in &names {
            let deadline = tokio::time::Instant::now() + SHOWN_AFTER;
            while !containerd::knows(&self.client, name).await {
                if tokio::time::Instant::now() > deadline {
                    return Err(ImageStoreError::NotShown(name.clone()));
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        Ok(names)
    }
}

/// An error about the copy of an archive, which its owner has not named.
fn without_copy(error: images::ImageError, copy: &Path) -> ImageStoreError {
    match error {
        images::ImageError::Archive(_, why) => ImageStoreError::Read(why),
        images::ImageError::Import(_, text) => {
            ImageStoreError::Refused(text.replace(&copy.display().to_string(), "the archive"))
        }
        other => ImageStoreError::Import(other),
    }
}

/// A file that is removed when it is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn tempfile_in(scratch: &Path) -> io::Result<(Scratch, std::fs::File)> {
    std::fs::create_dir_all(scratch)?;
    let path = scratch.join(format!(".import-{}", uuid::Uuid::new_v4()));
    let file = std::fs::File::create_new(&path)?;
    Ok((Scratch(path), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_do_not_name_the_copy_of_an_archive() {
        let copy = Path::new("/data/node/import/.import-1");
        let show = |error: images::ImageError| {
            let error = without_copy(error, copy);
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        };
        let broken = images::ImageError::Archive(copy.to_owned(), io::Error::other("no index.json"));
        assert_eq!(show(broken), "reading the archive: no index.json");
        let text = "ctr: open /data/node/import/.import-1: broken";
        let refused = images::ImageError::Import(copy.to_owned(), text.to_owned());
        assert_eq!(show(refused), "the runtime does not take it: ctr: open the archive: broken");
    }
}
