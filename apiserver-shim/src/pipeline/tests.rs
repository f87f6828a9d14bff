//! The pipeline over an in-memory store: plugins that add to transactions, ratcheting validation, and fast paths
//! compared with the general path.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::json;
use shim_core::controllers::{pod_status, served};
use shim_core::kinds::Subresource;
use shim_core::scheduler::{BindRequest, bind, bind_encoded};
use shim_model::access;
use shim_model::object::StoredObject;
use shim_model::resource::GroupResource;
use store::{MemoryStore, Store};

use super::*;
use crate::storage::deletion::DeleteOptions;
use crate::storage::object::encoded;
use crate::storage::registry::now;

fn admin(verb: &'static str) -> RequestContext {
    Identity::apiserver().context(verb)
}

async fn registry() -> (Arc<dyn Store>, Registry) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    (store.clone(), Registry::open(store).await.unwrap())
}

async fn create(
    pipeline: &Pipeline,
    group: &str,
    plural: &str,
    mut object: Value,
) -> Result<WriteOutcome, Status> {
    let resource = pipeline.registry().builtin(&GroupResource::new(group, plural));
    let namespace = access::text(&object, &["metadata", "namespace"]).to_owned();
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(resource.kind);
    pipeline.create(&admin("create"), ObjectRef::new(&resource, &namespace, ""), object).await
}

/// A pipeline with the namespace `ns` and its default service account.
async fn with_namespace(
    more: impl FnOnce(&Registry) -> Vec<Arc<dyn AdmissionPlugin>>,
) -> (Arc<dyn Store>, Pipeline) {
    let (store, registry) = registry().await;
    let access = AccessControl::new(registry.clone());
    let mut plugins = admission::built_in(
        &registry,
        &access,
        &AdmissionConfiguration::default(),
        admission::WebhookCaller::new(&registry),
    );
    plugins.extend(more(&registry));
    let pipeline = Pipeline::with_plugins(registry, plugins);
    create(&pipeline, "", "namespaces", json!({"metadata": {"name": "ns"}})).await.unwrap();
    let account = json!({"metadata": {"name": "default", "namespace": "ns"}});
    create(&pipeline, "", "serviceaccounts", account).await.unwrap();
    (store, pipeline)
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "ns"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn what_was_written_once_has_been_written() {
    let (_store, pipeline) = with_namespace(|_| Vec::new()).await;
    let map = GroupResource::new("", "configmaps");
    let was_written = || pipeline.registry().was_written(map.clone(), "ns", "start");
    assert!(!was_written());
    let object = json!({"metadata": {"name": "start", "namespace": "ns"}});
    create(&pipeline, "", "configmaps", object).await.unwrap();
    pipeline.registry().fresh().await.unwrap();
    assert!(was_written());
    let resource = pipeline.registry().builtin(&map);
    let target = ObjectRef::new(&resource, "ns", "start");
    pipeline.delete(&admin("delete"), target, &DeleteOptions::default()).await.unwrap();
    pipeline.registry().fresh().await.unwrap();
    assert!(pipeline.registry().peek(map.clone(), "ns", "start").is_none());
    assert!(was_written());
}

// === A made-up quota ===

/// Counts ConfigMaps in the ConfigMap `quota`, in the same transaction, as ResourceQuota will count in its status.
struct CountQuota {
    registry: Registry,
    limit: i64,
    attempts: AtomicUsize,
}

#[async_trait]
impl AdmissionPlugin for CountQuota {
    fn name(&self) -> &'static str {
        "CountQuota"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let counted = matches!(attributes.operation, Operation::Create | Operation::Delete);
        counted && attributes.is_core("configmaps") && attributes.name != "quota"
    }

    async fn validate(
        &self,
        _context: &RequestContext,
        attributes: &Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let maps = &self.registry.builtin(&served("", "configmaps"));
        let Some(quota) = self.registry.peek(maps, attributes.namespace, "quota") else { return Ok(()) };
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let mut value = quota.value();
        let used: i64 = access::text(&value, &["data", "used"]).parse().unwrap_or(0);
        let used = if attributes.operation == Operation::Create { used + 1 } else { used - 1 };
        if used > self.limit {
            let why = format!("exceeded quota: used {}, limited {}", used - 1, self.limit);
            return Err(status::forbidden("", "configmaps", "", why));
        }
        value["data"]["used"] = json!(used.to_string());
        preconditions.update(maps, &quota, &value);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_quota_plugin_never_exceeds_its_limit() {
    const LIMIT: usize = 7;
    let (_store, pipeline) = with_namespace(|registry| {
        let registry = registry.clone();
        vec![Arc::new(CountQuota { registry, limit: LIMIT as i64, attempts: AtomicUsize::new(0) })]
    })
    .await;
    let quota = json!({"metadata": {"name": "quota", "namespace": "ns"}, "data": {"used": "0"}});
    create(&pipeline, "", "configmaps", quota).await.unwrap();
    // The plugin reads the cache, which must have the quota.
    pipeline.registry().fresh().await.unwrap();
    let creations = (0..24).map(|i| {
        let pipeline = pipeline.clone();
        tokio::spawn(async move {
            let map = json!({"metadata": {"name": format!("m-{i}"), "namespace": "ns"}});
            create(&pipeline, "", "configmaps", map).await
        })
    });
    let done = futures::future::join_all(creations).await;
    let (made, refused): (Vec<_>, Vec<_>) =
        done.into_iter().map(|done| done.unwrap()).partition(Result::is_ok);
    assert_eq!(made.len(), LIMIT);
    assert!(
        refused.iter().all(|r| r.as_ref().unwrap_err().message.contains("exceeded quota")),
        "{refused:?}"
    );
    let maps = &pipeline.registry().builtin(&served("", "configmaps"));
    let used = || async {
        let quota = pipeline.registry().get(maps, "ns", "quota").await.unwrap().value();
        (
            access::text(&quota, &["data", "used"]).to_owned(),
            pipeline.registry().cache(maps).list(Some("ns")).len(),
        )
    };
    assert_eq!(used().await, (LIMIT.to_string(), LIMIT + 1));
    // A deletion releases quota in its transaction.
    let name = made[0].as_ref().unwrap().stored.as_ref().unwrap().name().to_owned();
    let target = ObjectRef::new(maps, "ns", &name);
    pipeline.delete(&admin("delete"), target, &DeleteOptions::default()).await.unwrap();
    assert_eq!(used().await, ((LIMIT - 1).to_string(), LIMIT));
}

#[tokio::test]
async fn admission_sees_deletions_with_the_stored_object() {
    struct Protect;
    #[async_trait]
    impl AdmissionPlugin for Protect {
        fn name(&self) -> &'static str {
            "Protect"
        }
        fn handles(&self, attributes: &Attributes<'_>) -> bool {
            attributes.operation == Operation::Delete && attributes.is_core("configmaps")
        }
        async fn validate(
            &self,
            _context: &RequestContext,
            attributes: &Attributes<'_>,
            _preconditions: &mut Preconditions,
        ) -> Result<(), Status> {
            assert!(attributes.object.is_none());
            match access::text(attributes.old_object.unwrap(), &["data", "keep"]) {
                "" => Ok(()),
                _ => Err(status::forbidden("", "configmaps", attributes.name, "it is to be kept")),
            }
        }
    }
    let (_store, pipeline) = with_namespace(|_| vec![Arc::new(Protect)]).await;
    let maps = &pipeline.registry().builtin(&served("", "configmaps"));
    for (name, data) in [("a", json!({"keep": "yes"})), ("b", json!({}))] {
        let map = json!({"metadata": {"name": name, "namespace": "ns"}, "data": data});
        create(&pipeline, "", "configmaps", map).await.unwrap();
    }
    let delete = |name: &'static str| {
        let pipeline = pipeline.clone();
        async move {
            let target = ObjectRef::new(maps, "ns", name);
            pipeline.delete(&admin("delete"), target, &DeleteOptions::default()).await
        }
    };
    assert_eq!(delete("a").await.unwrap_err().message, "configmaps \"a\" is forbidden: it is to be kept");
    assert!(matches!(delete("b").await, Ok(DeletionOutcome::Deleted(_))));
    let items = pipeline.registry().list(maps, Some("ns")).await.unwrap();
    let target = ObjectRef::new(maps, "ns", "");
    let (context, options) = (admin("deletecollection"), DeleteOptions::default());
    let all = pipeline.delete_collection(&context, target, &items, &options);
    assert_eq!(all.await.unwrap_err().code, 403);
}

// === Ratcheting ===

/// A stored ReplicaSet that violates a newer rule: its image name contains a space.
async fn invalid_replica_set(store: &Arc<dyn Store>, pipeline: &Pipeline) -> Value {
    let sets = &pipeline.registry().builtin(&served("apps", "replicasets"));
    let set = json!({
        "metadata": {"name": "old", "namespace": "ns"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]},
        }},
    });
    let mut value = create(pipeline, "apps", "replicasets", set).await.unwrap().value(sets).await.unwrap();
    value["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(70_000);
    store.put(sets.key("ns", "old"), encoded(&value).bytes).await.unwrap();
    pipeline.registry().get(sets, "ns", "old").await.unwrap().value()
}

#[tokio::test]
async fn an_object_that_violates_a_newer_rule_can_be_scaled_and_deleted() {
    let (store, pipeline) = with_namespace(|_| Vec::new()).await;
    let sets = &pipeline.registry().builtin(&served("apps", "replicasets"));
    let stored = invalid_replica_set(&store, &pipeline).await;
    let context = Identity::controller("deployment-controller").context("patch");
    let target = ObjectRef::new(sets, "ns", "old");
    let update = |path: &'static str, value: Value| {
        let (pipeline, context) = (pipeline.clone(), &context);
        async move {
            let change = |current: &Value| {
                let mut new = current.clone();
                *new.pointer_mut(path).unwrap() = value.clone();
                Ok(new)
            };
            pipeline.update_with(context, target, change).await
        }
    };
    let scaled = update("/spec/replicas", json!(3)).await.unwrap().value(sets).await.unwrap();
    assert_eq!(scaled["spec"]["replicas"], 3);
    assert_eq!(
        scaled["metadata"]["generation"].as_i64(),
        stored["metadata"]["generation"].as_i64().map(|g| g + 1)
    );
    let port = "/spec/template/spec/containers/0/ports/0/containerPort";
    let refused = update(port, json!(80_000)).await.unwrap_err();
    assert_eq!(refused.code, 422, "another wrong value is an error of the update");
    update(port, json!(80)).await.unwrap();
    assert_eq!(
        update(port, json!(70_000)).await.unwrap_err().code,
        422,
        "a corrected field cannot become invalid again"
    );
    let deleted = pipeline.delete(&admin("delete"), target, &DeleteOptions::default()).await.unwrap();
    assert!(matches!(deleted, DeletionOutcome::Deleted(_)));
}

// === Fast paths ===

/// A plugin that needs every object, so that no fast path applies.
struct SeesEverything;

impl AdmissionPlugin for SeesEverything {
    fn name(&self) -> &'static str {
        "SeesEverything"
    }
    fn handles(&self, _attributes: &Attributes<'_>) -> bool {
        true
    }
}

/// Runs a write with and without fast paths. Both must store the same Pods and Events, apart from generated names and
/// timestamps.
async fn on_both_paths<F: Future<Output = ()>>(write: impl Fn(Pipeline, Arc<Object>) -> F) -> Vec<Value> {
    let mut results = Vec::new();
    for general in [false, true] {
        let (_store, pipeline) =
            with_namespace(|_| if general { vec![Arc::new(SeesEverything) as _] } else { Vec::new() }).await;
        let created = create(&pipeline, "", "pods", pod("p")).await.unwrap().stored.unwrap();
        write(pipeline.clone(), created).await;
        pipeline.registry().fresh().await.unwrap();
        let all = ["pods", "events"].map(|plural| {
            let objects = pipeline.registry().list(served("", plural), None);
            async { objects.await.unwrap().iter().map(|o| comparable(o.value())).collect::<Vec<_>>() }
        });
        let [pods, events] = all;
        results.push(json!([pods.await, events.await]));
    }
    results
}

fn comparable(mut object: Value) -> Value {
    for member in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        access::remove(&mut object, &["metadata", member]);
    }
    access::remove(&mut object, &["involvedObject", "uid"]);
    for condition in access::list_mut(&mut object, &["status", "conditions"]).into_iter().flatten() {
        access::remove(condition, &["lastTransitionTime"]);
    }
    let text = object.to_string();
    // The token volume's name is generated.
    let drawn = text.find("kube-api-access-").map(|at| text[at..at + 21].to_owned());
    serde_json::from_str(&drawn.map_or(text.clone(), |drawn| text.replace(&drawn, "kube-api-access-xxxxx")))
        .unwrap()
}

fn event(pod: &Object) -> StoredObject {
    encoded(&json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": "p.1", "namespace": "ns", "uid": "e", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "ns", "uid": pod.header().uid},
        "count": 1, "eventTime": null, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
        "message": "m", "reason": "Scheduled", "reportingComponent": "default-scheduler", "reportingInstance": "",
        "source": {"component": "default-scheduler"}, "type": "Normal",
    }))
}

#[tokio::test]
async fn events_are_the_same_on_both_paths() {
    let results = on_both_paths(|pipeline, pod| async move {
        let context = Identity::scheduler().context("create");
        pipeline.record_event(&context, event(&pod)).await.unwrap();
    })
    .await;
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0][1].as_array().unwrap().len(), 1);
}

/// The scheduler's write when a fast path does not apply.
async fn edit(
    pipeline: &Pipeline,
    context: &RequestContext,
    change: impl Fn(&mut Value) + Send + Sync,
) -> Result<u64, Status> {
    let pods = pipeline.registry().builtin(&served("", "pods"));
    let target = ObjectRef::new(&pods, "ns", "p");
    let changed = pipeline.update_parts(context, target, &[BINDING, Subresource::Status], |pod| {
        let mut pod = pod.clone();
        change(&mut pod);
        Ok(pod)
    });
    changed.await.map(|outcome| outcome.revision())
}

#[tokio::test]
async fn bindings_are_the_same_on_both_paths() {
    let results = on_both_paths(|pipeline, pod| async move {
        let context = Identity::scheduler().context("create");
        let time = now().seconds();
        let bound = bind_encoded(pod.stored(), "node-1", Default::default(), time).unwrap();
        let prepared = BoundPod { pod: bound, revision: pod.revision, event: event(&pod) };
        let uid = pod.header().uid.clone();
        let with_event = match pipeline.bind_prepared(&context, prepared).await.unwrap() {
            Some(outcome) => outcome.with_event,
            None => {
                let (node, metadata) = ("node-1", &Value::Null);
                let request = BindRequest { node, uid: &uid, metadata, observed_generation: true, now: time };
                let change = |pod: &mut Value| bind(pod, &request).unwrap();
                edit(&pipeline, &context, change).await.unwrap();
                false
            }
        };
        // On the fast path the Event is in the transaction; otherwise the scheduler records it afterwards.
        if !with_event {
            pipeline.record_event(&context, event(&pod)).await.unwrap();
        }
    })
    .await;
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0][0][0]["spec"]["nodeName"], "node-1");
}

#[tokio::test]
async fn statuses_are_the_same_on_both_paths() {
    let reports = [
        json!({"phase": "Pending", "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}]}),
        json!({"phase": "Running", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}], "qosClass": "BestEffort",
            "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"name": "c"}]}),
        // Not plain: it has an IP but no list of IPs, which defaults add.
        json!({"phase": "Running", "podIP": "10.1.0.2"}),
        json!({"phase": "Succeeded"}),
        // A Pod that has finished keeps its phase.
        json!({"phase": "Running"}),
    ];
    let results = on_both_paths(|pipeline, pod| {
        let reports = reports.clone();
        async move {
            let context = Identity::node("node-1").context("patch");
            for report in reports {
                let (uid, text) = (&pod.header().uid, report.to_string());
                let swapped = pipeline.swap_pod_status(&context, ("ns", "p"), uid, text.as_bytes()).await;
                if swapped.unwrap().is_none() {
                    let merge = |pod: &mut Value| pod["status"] = pod_status::merge(&pod["status"], &report);
                    edit(&pipeline, &context, merge).await.unwrap();
                }
                pipeline.registry().fresh().await.unwrap();
                let other = pipeline.swap_pod_status(&context, ("ns", "p"), "other", text.as_bytes()).await;
                assert_eq!(other.unwrap(), None, "another Pod of that name is left alone");
            }
        }
    })
    .await;
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0][0][0]["status"]["phase"], "Succeeded");
}

#[tokio::test]
async fn an_invalid_status_is_refused_on_both_paths() {
    on_both_paths(|pipeline, pod| async move {
        let context = Identity::node("node-1").context("patch");
        let report = json!({"phase": "Running", "podIP": "nonsense", "podIPs": [{"ip": "nonsense"}]});
        let (uid, text) = (&pod.header().uid, report.to_string());
        let swapped = pipeline.swap_pod_status(&context, ("ns", "p"), uid, text.as_bytes()).await;
        assert_eq!(swapped.unwrap(), None, "the fast path leaves it to the general one");
        let refused = edit(&pipeline, &context, |pod| pod["status"] = report.clone()).await;
        assert_eq!(refused.unwrap_err().code, 422);
    })
    .await;
}

// === Classes that the cache still has ===

#[tokio::test]
async fn a_class_that_was_just_deleted_is_refused() {
    let (_store, pipeline) = with_namespace(|_| Vec::new()).await;
    let cases = [
        ("scheduling.k8s.io", "priorityclasses", "priorityClassName", json!({"value": 7})),
        ("node.k8s.io", "runtimeclasses", "runtimeClassName", json!({"handler": "h"})),
    ];
    for (group, plural, member, mut class) in cases {
        class["metadata"] = json!({"name": "c"});
        create(&pipeline, group, plural, class).await.unwrap();
        let mut object = pod(plural);
        object["spec"][member] = json!("c");
        create(&pipeline, "", "pods", object.clone()).await.unwrap();
        pipeline.registry().fresh().await.unwrap();
        let resource = pipeline.registry().builtin(&GroupResource::new(group, plural));
        let target = ObjectRef::new(&resource, "", "c");
        pipeline.delete(&admin("delete"), target, &DeleteOptions::default()).await.unwrap();
        // The only thread has not let the cache see it yet.
        assert!(pipeline.registry().peek(&resource, "", "c").is_some(), "{plural}");
        object["metadata"]["name"] = json!("late");
        let refused = create(&pipeline, "", "pods", object).await.unwrap_err();
        assert_eq!(refused.code, 403, "{plural}: {}", refused.message);
    }
}

#[tokio::test]
async fn a_service_account_that_was_just_created_is_found() {
    let (_store, pipeline) = with_namespace(|_| Vec::new()).await;
    let account = json!({"metadata": {"name": "new", "namespace": "ns"}});
    create(&pipeline, "", "serviceaccounts", account).await.unwrap();
    assert!(pipeline.registry().peek(served("", "serviceaccounts"), "ns", "new").is_none());
    let mut object = pod("p");
    object["spec"]["serviceAccountName"] = json!("new");
    create(&pipeline, "", "pods", object).await.unwrap();
}
