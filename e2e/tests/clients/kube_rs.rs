//! kube-rs: typed and untyped objects, streaming lists, and a controller with finalizers that applies what it owns.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use e2e::cluster::Cluster;
use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{ConfigMap, Namespace, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{
        ApiResource, AttachParams, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams,
        PostParams,
    },
    core::GroupVersionKind,
    runtime::{
        Controller,
        controller::Action,
        finalizer::{Event, finalizer},
        wait::{
            await_condition,
            conditions::{is_crd_established, is_pod_running},
        },
        watcher,
    },
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
};

use crate::{Test, kube_client};

pub const TESTS: &[Test] = &[
    ("objects", |cluster| within(cluster, "kube-objects", objects)),
    ("streaming_lists", |cluster| within(cluster, "kube-lists", streaming_lists)),
    ("leases", |cluster| within(cluster, "kube-leases", leases)),
    ("exec", |cluster| within(cluster, "kube-exec", exec)),
    ("controller", |cluster| within(cluster, "kube-controller", controller)),
];

/// How long one part may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a part in a namespace of its own.
fn within<F>(
    cluster: &Cluster,
    namespace: &'static str,
    part: fn(Client, &'static str) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = Runtime::new()?;
    let client = kube_client::connect(cluster, &runtime, DEADLINE)?;
    runtime.block_on(async {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        namespaces.create(&PostParams::default(), &object).await?;
        let done = tokio::time::timeout(DEADLINE, part(client, namespace)).await;
        namespaces.delete(namespace, &DeleteParams::background()).await?;
        done.context("it takes too long")?
    })
}

fn map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    let data: BTreeMap<String, String> =
        data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut map = ConfigMap { data: Some(data), ..ConfigMap::default() };
    map.metadata.name = Some(name.to_owned());
    map
}

/// The HTTP status of a refusal.
fn code<T>(answer: kube::Result<T>) -> anyhow::Result<u16> {
    match answer {
        Err(kube::Error::Api(status)) => Ok(status.code),
        Err(other) => Err(other.into()),
        Ok(_) => bail!("it is not refused"),
    }
}

async fn objects(client: Client, namespace: &'static str) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let made = maps.create(&PostParams::default(), &map("one", &[("a", "1")])).await?;
    ensure!(code(maps.create(&PostParams::default(), &map("one", &[])).await)? == 409);
    let mut changed = made.clone();
    changed.data = map("one", &[("a", "2")]).data;
    let replaced = maps.replace("one", &PostParams::default(), &changed).await?;
    ensure!(code(maps.replace("one", &PostParams::default(), &made).await)? == 409);
    let apply = PatchParams::apply("kube-rs");
    let mut wanted = map("one", &[("a", "3")]);
    wanted.metadata.namespace = Some(namespace.to_owned());
    ensure!(code(maps.patch("one", &apply, &Patch::Apply(&wanted)).await)? == 409, "a conflict");
    let applied = maps.patch("one", &apply.clone().force(), &Patch::Apply(&wanted)).await?;
    ensure!(applied.data == wanted.data && applied.resource_version() != replaced.resource_version());
    let again = maps.patch("one", &apply.force(), &Patch::Apply(&wanted)).await?;
    ensure!(again.resource_version() == applied.resource_version(), "an apply without a change");
    let metadata = maps.get_metadata("one").await?;
    ensure!(metadata.metadata.uid == applied.metadata.uid);
    let listed = maps.list_metadata(&ListParams::default().fields("metadata.name=one")).await?;
    ensure!(listed.items.len() == 1, "{listed:?}");
    ensure!(maps.get_opt("none").await?.is_none());
    maps.delete("one", &DeleteParams::default()).await?;
    let found = kube::discovery::Discovery::new(client).run_aggregated().await?;
    let apps = found.get("apps").context("no group apps")?;
    ensure!(apps.recommended_kind("Deployment").is_some());
    Ok(())
}

/// Commands, ports and logs of a Pod, the first two over a WebSocket.
async fn exec(client: Client, namespace: &'static str) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let image = "localhost/catamaran/example-web:1";
    let container =
        json!({"name": "web", "image": image, "command": ["httpd", "-f", "-p", "8080", "-h", "/etc"]});
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [container]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    await_condition(pods.clone(), "web", is_pod_running()).await?;

    let script = "read word; echo out $word; echo err >&2; exit 3";
    let mut process = pods.exec("web", ["sh", "-c", script], &AttachParams::default().stdin(true)).await?;
    let mut input = process.stdin().context("no input")?;
    input.write_all(b"hello\n").await?;
    let (mut out, mut err) = (String::new(), String::new());
    process.stdout().context("no output")?.read_to_string(&mut out).await?;
    process.stderr().context("no errors")?.read_to_string(&mut err).await?;
    let status = process.take_status().context("no status")?.await.context("the status is lost")?;
    ensure!((&*out, &*err) == ("out hello\n", "err\n"), "{out:?} {err:?} {status:?}");
    let causes = status.details.as_ref().and_then(|details| details.causes.iter().flatten().next());
    ensure!(causes.is_some_and(|cause| cause.message.as_deref() == Some("3")), "{status:?}");
    process.join().await?;

    let mut ports = pods.portforward("web", &[8080]).await?;
    let mut stream = ports.take_stream(8080).context("no stream")?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");

    let mut process =
        pods.exec("web", ["sh", "-c", "echo logged > /proc/1/fd/1"], &AttachParams::default()).await?;
    process.take_status().context("no status")?.await.context("the status is lost")?;
    let logged = || async { pods.logs("web", &LogParams::default()).await };
    while !logged().await?.contains("logged\n") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// A watch that begins with the objects that exist, and ends them with a bookmark.
async fn streaming_lists(client: Client, namespace: &'static str) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    for i in 0..20 {
        let mut object = map(&format!("map-{i}"), &[]);
        object.labels_mut().insert("even".to_owned(), (i % 2 == 0).to_string());
        maps.create(&PostParams::default(), &object).await?;
    }
    // The watcher takes any version; after a consistent list the server has one with all writes.
    maps.list(&ListParams::default()).await?;
    let config = watcher::Config::default().labels("even=true").streaming_lists();
    let events = watcher(maps.clone(), config);
    pin_mut!(events);
    let mut initial = Vec::new();
    ensure!(matches!(events.try_next().await?, Some(watcher::Event::Init)));
    loop {
        match events.try_next().await?.context("the stream has ended")? {
            watcher::Event::InitApply(object) => initial.push(object.name_any()),
            watcher::Event::InitDone => break,
            other => bail!("unexpected: {other:?}"),
        }
    }
    ensure!(initial.len() == 10, "{initial:?}");
    let label = |value: &str| json!({"metadata": {"labels": {"even": value}}});
    maps.patch("map-1", &PatchParams::default(), &Patch::Merge(label("true"))).await?;
    maps.patch("map-0", &PatchParams::default(), &Patch::Merge(label("false"))).await?;
    let next = events.try_next().await?;
    ensure!(matches!(&next, Some(watcher::Event::Apply(object)) if object.name_any() == "map-1"), "{next:?}");
    let next = events.try_next().await?;
    ensure!(
        matches!(&next, Some(watcher::Event::Delete(object)) if object.name_any() == "map-0"),
        "{next:?}"
    );
    Ok(())
}

/// Of the candidates that have read one version of a Lease, one gets it.
async fn leases(client: Client, namespace: &'static str) -> anyhow::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let mut lease = Lease { spec: Some(LeaseSpec::default()), ..Lease::default() };
    lease.metadata.name = Some("leader".to_owned());
    let mut lease = leases.create(&PostParams::default(), &lease).await?;
    for round in 0..5 {
        let takes = (0..4).map(|candidate| {
            let mut mine = lease.clone();
            mine.spec.get_or_insert_default().holder_identity = Some(format!("{round}-{candidate}"));
            let leases = leases.clone();
            async move { leases.replace("leader", &PostParams::default(), &mine).await }
        });
        let outcomes = futures::future::join_all(takes).await;
        let won: Vec<Lease> = outcomes.into_iter().filter_map(Result::ok).collect();
        ensure!(won.len() == 1, "round {round}: {} have won", won.len());
        lease = leases.get("leader").await?;
        ensure!(lease == won[0]);
    }
    Ok(())
}

const FINALIZER: &str = "gardens.rust.example.com/beds";

/// What the reconciler needs.
struct Gardener {
    client: Client,
    gardens: Api<DynamicObject>,
    kind: ApiResource,
    /// Gardens that it has cleaned up.
    cleared: AtomicUsize,
}

fn garden() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("rust.example.com", "v1", "Garden"))
}

fn definition() -> anyhow::Result<CustomResourceDefinition> {
    let number = json!({"type": "integer", "minimum": 0});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "gardens.rust.example.com"},
        "spec": {
            "group": "rust.example.com", "scope": "Namespaced",
            "names": {"kind": "Garden", "plural": "gardens", "singular": "garden", "listKind": "GardenList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"beds": number}},
                    "status": {"type": "object", "properties": {"beds": number}},
                }}},
            }],
        },
    }))?)
}

/// Makes a ConfigMap of the garden's name with its beds, and says so in its status.
async fn apply(garden: Arc<DynamicObject>, gardener: Arc<Gardener>) -> kube::Result<Action> {
    let (name, namespace) = (garden.name_any(), garden.namespace().unwrap_or_default());
    let beds = garden.data["spec"]["beds"].clone();
    let mut owned = map(&name, &[("beds", &beds.to_string())]);
    owned.metadata.owner_references = garden.controller_owner_ref(&gardener.kind).map(|owner| vec![owner]);
    let maps: Api<ConfigMap> = Api::namespaced(gardener.client.clone(), &namespace);
    let params = PatchParams::apply("gardener").force();
    maps.patch(&name, &params, &Patch::Apply(&owned)).await?;
    let status = json!({
        "apiVersion": "rust.example.com/v1", "kind": "Garden", "status": {"beds": beds},
    });
    gardener.gardens.patch_status(&name, &params, &Patch::Apply(&status)).await?;
    Ok(Action::await_change())
}

async fn reconcile(
    garden: Arc<DynamicObject>,
    gardener: Arc<Gardener>,
) -> Result<Action, kube::runtime::finalizer::Error<kube::Error>> {
    let gardens = gardener.gardens.clone();
    finalizer(&gardens, FINALIZER, garden, |event| async move {
        match event {
            Event::Apply(garden) => apply(garden, gardener).await,
            Event::Cleanup(_) => {
                gardener.cleared.fetch_add(1, Ordering::Relaxed);
                Ok(Action::await_change())
            }
        }
    })
    .await
}

async fn controller(client: Client, namespace: &'static str) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &definition()?).await?;
    await_condition(definitions.clone(), "gardens.rust.example.com", is_crd_established()).await?;
    let kind = garden();
    let gardens: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let plant = async |name: &str, beds: u32| {
        let object = DynamicObject::new(name, &kind).data(json!({"spec": {"beds": beds}}));
        gardens.create(&PostParams::default(), &object).await
    };
    plant("early", 1).await?;
    let gardener = Arc::new(Gardener {
        client,
        gardens: gardens.clone(),
        kind: kind.clone(),
        cleared: AtomicUsize::new(0),
    });
    let config = || watcher::Config::default().streaming_lists();
    let errors: Arc<OnceLock<String>> = Arc::default();
    let seen = Arc::clone(&errors);
    let running = Controller::new_with(gardens.clone(), config(), kind.clone())
        .owns(maps.clone(), config())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(200)), Arc::clone(&gardener))
        .for_each(move |outcome| {
            // A garden that has gone is no error: the child's event finds none.
            if let Err(error) = outcome {
                let _ = seen.set(error.to_string());
            }
            futures::future::ready(())
        });
    let running = tokio::spawn(running);
    plant("late", 2).await?;
    beds(&maps, "early", "1").await?;
    beds(&maps, "late", "2").await?;
    maps.delete("early", &DeleteParams::default()).await?;
    beds(&maps, "early", "1").await.context("what it owns is made again")?;
    let more = Patch::Merge(json!({"spec": {"beds": 7}}));
    gardens.patch("late", &PatchParams::default(), &more).await?;
    beds(&maps, "late", "7").await?;
    let late = until(|| async {
        let late = gardens.get("late").await?;
        Ok((late.data["status"]["beds"] == 7).then_some(late))
    });
    let late = late.await.with_context(|| format!("errors: {errors:?}"))?;
    ensure!(late.finalizers() == [FINALIZER] && late.metadata.generation == Some(2), "{late:?}");
    gardens.delete("late", &DeleteParams::foreground()).await?;
    let gone = until(|| async {
        let left = (gardens.get_opt("late").await?, maps.get_opt("late").await?);
        Ok(matches!(left, (None, None)).then_some(()))
    });
    gone.await.context("the garden and what it owns are gone")?;
    ensure!(gardener.cleared.load(Ordering::Relaxed) >= 1);
    // The definition goes with its objects, so the finalizer of the other is needed once more.
    definitions.delete("gardens.rust.example.com", &DeleteParams::default()).await?;
    until(|| async { Ok(definitions.get_opt("gardens.rust.example.com").await?.is_none().then_some(())) })
        .await?;
    running.abort();
    Ok(())
}

/// Waits until the ConfigMap says so many beds.
async fn beds(maps: &Api<ConfigMap>, name: &str, count: &str) -> anyhow::Result<()> {
    until(|| async {
        let found = maps.get_opt(name).await?.and_then(|map| map.data);
        Ok(found.is_some_and(|data| data.get("beds").is_some_and(|beds| beds == count)).then_some(()))
    })
    .await
    .with_context(|| format!("{name} has not {count} beds"))
}

/// Asks until there is an answer.
async fn until<T, F: Future<Output = kube::Result<Option<T>>>>(ask: impl Fn() -> F) -> anyhow::Result<T> {
    for _ in 0..1200 {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("waited for two minutes")
}
