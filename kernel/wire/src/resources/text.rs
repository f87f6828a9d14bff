//! Resources of the wire in the form of Mesos' messages: `cpus(allocated: eng)(reservations: [(STATIC,eng)]):2`.

use std::fmt::Write as _;

use kernel_model::resources::Scalar;

use crate::v1::{
    Labels, Resource, Volume,
    resource::{DiskInfo, ReservationInfo, disk_info::Source, disk_info::source::Type as SourceType},
    volume::Mode,
};

/// A resource, valid or not.
pub(crate) fn describe(resource: &Resource) -> String {
    let mut text = resource.name.clone();
    if let Some(allocation) = &resource.allocation_info {
        let _ = write!(text, "(allocated: {})", allocation.role());
    }
    if !resource.reservations.is_empty() {
        let levels = resource.reservations.iter().map(|level| format!("({})", reservation(level)));
        let _ = write!(text, "(reservations: [{}])", levels.collect::<Vec<_>>().join(","));
    }
    if let Some(info) = &resource.disk {
        let _ = write!(text, "[{}]", disk(info));
    }
    if resource.revocable.is_some() {
        text += "{REV}";
    }
    if resource.shared.is_some() {
        text += "<SHARED>";
    }
    text.push(':');
    text += &value(resource);
    text
}

fn value(resource: &Resource) -> String {
    use crate::v1::value::Type;
    match Type::try_from(resource.r#type) {
        Ok(Type::Scalar) => {
            Scalar::from_f64(resource.scalar.as_ref().map(|scalar| scalar.value).unwrap_or_default())
                .to_string()
        }
        Ok(Type::Ranges) => {
            let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range);
            let ranges = ranges.map(|range| format!("{}-{}", range.begin, range.end));
            format!("[{}]", ranges.collect::<Vec<_>>().join(", "))
        }
        Ok(Type::Set) => {
            let items = resource.set.iter().flat_map(|set| &set.item).map(String::as_str);
            format!("{{{}}}", items.collect::<Vec<_>>().join(", "))
        }
        Ok(Type::Text) | Err(_) => String::new(),
    }
}

fn reservation(level: &ReservationInfo) -> String {
    let mut text = format!("{},{}", level.r#type().as_str_name(), level.role());
    if let Some(principal) = &level.principal {
        let _ = write!(text, ",{principal}");
    }
    if let Some(all) = &level.labels {
        let _ = write!(text, ",{}", labels(all));
    }
    text
}

fn labels(all: &Labels) -> String {
    let shown = all.labels.iter().map(|label| match &label.value {
        Some(value) => format!("{}: {value}", label.key),
        None => label.key.clone(),
    });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
}

fn disk(info: &DiskInfo) -> String {
    let mut text = info.source.as_ref().map(source).unwrap_or_default();
    if let Some(persistence) = &info.persistence {
        if info.source.is_some() {
            text.push(',');
        }
        text += &persistence.id;
    }
    if let Some(mounted) = &info.volume {
        let _ = write!(text, ":{}", volume(mounted));
    }
    text
}

pub(super) fn source(from: &Source) -> String {
    let kind = SourceType::try_from(from.r#type).unwrap_or(SourceType::Unknown);
    let mut text = kind.as_str_name().to_owned();
    let root = match kind {
        SourceType::Mount => from.mount.as_ref().and_then(|mount| mount.root.as_deref()),
        SourceType::Path => from.path.as_ref().and_then(|path| path.root.as_deref()),
        SourceType::Unknown => return text,
        SourceType::Block | SourceType::Raw => None,
    };
    if from.id.is_some() || from.profile.is_some() {
        let _ = write!(text, "({},{},{})", from.vendor(), from.id(), from.profile());
    } else if let Some(root) = root {
        let _ = write!(text, ":{root}");
    }
    text
}

fn volume(from: &Volume) -> String {
    let Some(host_path) = &from.host_path else { return from.container_path.clone() };
    let mode = match Mode::try_from(from.mode) {
        Ok(Mode::Ro) => ":ro",
        Ok(Mode::Rw) => ":rw",
        Err(_) => "",
    };
    format!("{host_path}:{}{mode}", from.container_path)
}
