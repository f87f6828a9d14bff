//! The answers of metrics APIs, decoded into types as upstream's clients do: a member of a wrong type, a quantity or a time that
//! cannot be read is an error, and never a value. The types name only what is used, so that a hostile answer costs no more memory than
//! a small multiple of its length.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use shim_model::resource::split_api_version;

use super::{bounded, metric::MetricsApi};
use crate::{
    cel::go_duration,
    rows::{Seconds, seconds},
};

/// The usage of the containers of a Pod, of `metrics.k8s.io`.
#[derive(Debug, Deserialize)]
pub(super) struct PodMetrics {
    metadata: Object<Named>,
    /// The end of the window; the epoch if there is none.
    #[serde(default, deserialize_with = "time")]
    pub timestamp: Seconds,
    /// The length of the window in seconds.
    #[serde(default, deserialize_with = "duration")]
    pub window: i64,
    #[serde(default, deserialize_with = "nullable")]
    containers: Vec<Object<ContainerMetrics>>,
}

#[derive(Debug, Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    usage: BTreeMap<String, Milli>,
}

/// A value of `custom.metrics.k8s.io`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MetricValue {
    #[serde(default, deserialize_with = "nullable")]
    described_object: Option<Object<Named>>,
    #[serde(default, deserialize_with = "time")]
    pub timestamp: Seconds,
    /// The length of the window in seconds.
    pub window_seconds: Option<i64>,
    pub value: Milli,
}

/// A value of `external.metrics.k8s.io`.
#[derive(Debug, Deserialize)]
pub(super) struct ExternalMetricValue {
    pub value: Milli,
    /// Not used, but upstream refuses one that is no time.
    #[serde(default, deserialize_with = "time", rename = "timestamp")]
    _timestamp: Seconds,
}

/// A quantity in thousandths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Milli(pub i64);

#[derive(Debug, Default, Deserialize)]
struct Named {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
}

/// What says of which kind an answer is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default, deserialize_with = "nullable")]
    kind: String,
    #[serde(default, deserialize_with = "nullable")]
    api_version: String,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct List<T> {
    #[serde(default = "Vec::new", deserialize_with = "nullable")]
    items: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    #[serde(default, deserialize_with = "nullable")]
    message: String,
}

/// A JSON object. A derived structure alone accepts an array too, as its members in order.
#[derive(Debug)]
struct Object<T>(T);

impl PodMetrics {
    /// The name of the Pod.
    pub fn name(&self) -> &str {
        &self.metadata.0.name
    }

    /// The usage of a resource by all containers, or by one; `None` if a container's usage is not known.
    pub fn usage(&self, resource: &str, container: Option<&str>) -> Option<i64> {
        let of = |one: &Object<ContainerMetrics>| one.0.usage.get(resource).map(|milli| milli.0);
        match container {
            Some(name) => self.containers.iter().find(|one| one.0.name == name).and_then(of),
            None if self.containers.is_empty() => None,
            None => self.containers.iter().try_fold(0i64, |sum, one| Some(sum.saturating_add(of(one)?))),
        }
    }
}

impl MetricValue {
    /// The name of the object that it describes.
    pub fn name(&self) -> &str {
        self.described_object.as_ref().map_or("", |object| &object.0.name)
    }
}

/// The items of an answer, which must be a list of the API. The error says what is wrong with it.
pub(super) fn items<T: DeserializeOwned>(api: MetricsApi, answer: &[u8]) -> Result<Vec<T>, String> {
    let Object(Head { kind, api_version }) = parse(answer)?;
    if kind == "Status" {
        let Object(Failure { message }) = parse(answer)?;
        return Err(bounded(message));
    }
    let is_of_api = api_version.is_empty() || split_api_version(&api_version).0 == api.group();
    if !is_of_api || !(kind.is_empty() || kind == api.list_kind()) {
        return Err(bounded(format!("no kind {kind:?} is registered for version {api_version:?}")));
    }
    let Object(List::<Object<T>> { items }) = parse(answer)?;
    Ok(items.into_iter().map(|item| item.0).collect())
}

fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<Object<T>, String> {
    serde_json::from_slice(answer).map_err(|error| bounded(format!("cannot decode the answer: {error}")))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Milli {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Milli, D::Error> {
        struct OfQuantity;
        impl Visitor<'_> for OfQuantity {
            type Value = Milli;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Milli, E> {
                super::metric::milli_of(text.trim()).map(Milli).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Milli, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Milli, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Milli, E> {
                self.visit_str(&format!("{number:e}"))
            }
        }
        deserializer.deserialize_any(OfQuantity)
    }
}

/// `null`, as which Go prints an empty list, is the default.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `null` is Go's zero time.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
    let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else { return Ok(0) };
    seconds(&text).ok_or_else(|| D::Error::custom(format_args!("{text:?} is no time of RFC 3339")))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    let nanoseconds = go_duration(&text);
    nanoseconds
        .map(|nanoseconds| nanoseconds / 1_000_000_000)
        .ok_or_else(|| D::Error::custom(format_args!("{text:?} is no duration")))
}
