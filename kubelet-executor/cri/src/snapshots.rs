//! containerd's snapshots: read-only views of the layers of an image.

use tonic::{Request, metadata::MetadataValue};

use crate::{
    Client, Error, ErrorKind,
    client::{READ_TIMEOUT, WRITE_TIMEOUT},
    v1,
};

/// The generated messages of `containerd.services.snapshots.v1`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod messages {
    tonic::include_proto!("containerd.services.snapshots.v1");
}

/// A mount that shows a snapshot, or a part of it.
pub use messages::Mount;

/// The namespace of the CRI's images and snapshots.
const NAMESPACE: &str = "k8s.io";
/// The header with the namespace of a call.
const NAMESPACE_HEADER: &str = "containerd-namespace";
/// A snapshot with this label is not garbage: its maker removes it.
const ROOT_LABEL: &str = "containerd.io/gc.root";
/// What precedes the name of a snapshotter in the name of its directory.
const SNAPSHOTTER_PREFIX: &str = "io.containerd.snapshotter.v1.";

fn request<T>(message: T, timeout: std::time::Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request.metadata_mut().insert(NAMESPACE_HEADER, MetadataValue::from_static(NAMESPACE));
    request
}

impl Client {
    /// The snapshotter in which the runtime unpacks images: the CRI tells its directory.
    pub async fn snapshotter(&self) -> Result<String, Error> {
        let filesystems = self.image_fs_info(v1::ImageFsInfoRequest {}).await?.image_filesystems;
        let mut directories = filesystems.into_iter().filter_map(|filesystem| filesystem.fs_id);
        let found = directories.find_map(|directory| {
            let name = directory.mountpoint.trim_end_matches('/').rsplit('/').next()?.to_owned();
            name.strip_prefix(SNAPSHOTTER_PREFIX).map(str::to_owned)
        });
        found.ok_or_else(|| Error {
            operation: "ImageFsInfo",
            kind: ErrorKind::Other,
            message: "the runtime does not tell its snapshotter: image volumes need containerd".to_owned(),
        })
    }

    /// The mounts that show the layers up to `parent`, read-only; the view is made if it does not exist, and stays until
    /// [`Self::remove_snapshot`].
    pub async fn view_snapshot(
        &self,
        snapshotter: &str,
        key: &str,
        parent: &str,
    ) -> Result<Vec<Mount>, Error> {
        let mounts = messages::MountsRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        match self.snapshots.clone().mounts(request(mounts, READ_TIMEOUT)).await {
            Ok(response) => return Ok(response.into_inner().mounts),
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => return Err(Error::from_status("Mounts", status)),
        }
        let view = messages::ViewSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: [(ROOT_LABEL.to_owned(), "catamaran".to_owned())].into(),
        };
        let response = self.snapshots.clone().view(request(view, WRITE_TIMEOUT)).await;
        Ok(response.map_err(|status| Error::from_status("View", status))?.into_inner().mounts)
    }

    /// Removes a view; one that does not exist is not found.
    pub async fn remove_snapshot(&self, snapshotter: &str, key: &str) -> Result<(), Error> {
        let remove =
            messages::RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key: key.to_owned() };
        let response = self.snapshots.clone().remove(request(remove, WRITE_TIMEOUT)).await;
        response.map(drop).map_err(|status| Error::from_status("Remove", status))
    }
}
