//! Converts paths of containers from and to `mesos.v1.ContainerID`.

use kernel_model::{container_path::ContainerPath, ids::ContainerId};

use crate::v1;

/// Encodes a path.
pub fn to_wire(from: &ContainerPath) -> v1::ContainerId {
    let mut parts = from.parts().map(|part| part.as_str().to_owned());
    let root = v1::ContainerId { value: parts.next().unwrap_or_default(), parent: None };
    parts.fold(root, |above, value| v1::ContainerId { value, parent: Some(Box::new(above)) })
}

/// Decodes a path, which may be invalid.
pub fn from_wire(from: &v1::ContainerId) -> ContainerPath {
    let mut parts = vec![ContainerId::from(from.value.as_str())];
    let mut above = from.parent.as_deref();
    while let Some(id) = above {
        parts.push(id.value.as_str().into());
        above = id.parent.as_deref();
    }
    let innermost = parts[0].clone();
    ContainerPath::of_parts(parts.into_iter().rev()).unwrap_or_else(|| ContainerPath::root(innermost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_are_written() {
        let path = ContainerPath::root("a".into()).child("b".into()).child("c".into());
        let wire = to_wire(&path);
        assert_eq!((wire.value.as_str(), wire.parent.as_ref().unwrap().value.as_str()), ("c", "b"));
        assert_eq!(from_wire(&wire), path);
        let root = ContainerPath::root("a".into());
        assert_eq!(from_wire(&to_wire(&root)), root);
    }
}
