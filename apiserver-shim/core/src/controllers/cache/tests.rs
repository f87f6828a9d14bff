//! The indices answer as a scan of all objects would, and no controller reads objects that a change does not concern.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    controllers::{ControllerConfig, Keys, all, served},
    rows::{Deployment, LabelSelector, Node, ObjectView, Pod, ReplicaSet, Service},
    testing::stored,
};

fn empty() -> ControllerCache {
    let controllers = all(&ControllerConfig::default());
    let mut cache = ControllerCache::new(controllers.iter().flat_map(|controller| &controller.inputs));
    crate::testing::builtin_resources().iter().for_each(|resource| cache.add_resource(resource));
    cache
}

fn put(cache: &mut ControllerCache, resource: &GroupResource, value: &Value, revision: u64) -> ObjectChange {
    let object = stored(value);
    let view = cache.decoder().decode(resource, &object, revision).unwrap();
    cache.put(resource, NewObject { object, revision, view }, 0)
}

/// One step of the property: which object of which kind, and its new state.
#[derive(Debug, Clone)]
enum Step {
    Pod { at: usize, labels: Labels, owner: Option<usize>, node: Option<usize> },
    Selecting { kind: usize, at: usize, selector: Selector, labels: Labels, owner: Option<usize> },
    Remove { kind: usize, at: usize },
}

type Labels = Vec<(usize, usize)>;

/// Equalities, and one expression: operator, key, values.
type Selector = (Labels, Option<(usize, usize, Vec<usize>)>);

const KINDS: [(&str, &str); 4] =
    [("", "pods"), ("apps", "replicasets"), ("apps", "deployments"), ("", "services")];

fn labels() -> impl Strategy<Value = Labels> {
    proptest::collection::vec((0usize..3, 0usize..3), 0..3)
}

fn selector() -> impl Strategy<Value = Selector> {
    (labels(), proptest::option::of((0usize..4, 0usize..3, proptest::collection::vec(0usize..3, 0..3))))
}

fn step() -> impl Strategy<Value = Step> {
    let owner = || proptest::option::of(0usize..4);
    prop_oneof![
        4 => (0usize..6, labels(), owner(), proptest::option::of(0usize..3))
            .prop_map(|(at, labels, owner, node)| Step::Pod { at, labels, owner, node }),
        4 => (1usize..4, 0usize..4, selector(), labels(), owner())
            .prop_map(|(kind, at, selector, labels, owner)| Step::Selecting { kind, at, selector, labels, owner }),
        2 => (0usize..4, 0usize..6).prop_map(|(kind, at)| Step::Remove { kind, at }),
    ]
}

fn label_map(labels: &Labels) -> Value {
    let pairs = labels.iter().map(|(key, value)| (format!("k{key}"), json!(format!("v{value}"))));
    Value::Object(pairs.collect())
}

fn label_selector((equal, expression): &Selector) -> Value {
    let mut selector = json!({"matchLabels": label_map(equal)});
    if let Some((operator, key, values)) = expression {
        let operator = ["In", "NotIn", "Exists", "DoesNotExist"][*operator];
        let values: Vec<String> = values.iter().map(|v| format!("v{v}")).collect();
        selector["matchExpressions"] =
            json!([{"key": format!("k{key}"), "operator": operator, "values": values}]);
    }
    selector
}

fn namespace(at: usize) -> &'static str {
    ["a", "b"][at % 2]
}

fn metadata(kind: usize, at: usize, labels: &Labels, owner: Option<usize>) -> Value {
    let owners: Vec<Value> = owner
        .iter()
        .map(|n| {
            let (kind, controller, uid) = ("ReplicaSet", n % 2 == 0, format!("uid-1-{n}"));
            json!({"apiVersion": "apps/v1", "kind": kind, "name": format!("o{n}"), "uid": uid, "controller": controller})
        })
        .collect();
    json!({
        "name": format!("o{at}"), "namespace": namespace(at), "uid": format!("uid-{kind}-{at}"),
        "labels": label_map(labels), "ownerReferences": owners,
    })
}

fn play(cache: &mut ControllerCache, step: &Step, revision: u64) {
    match step {
        Step::Pod { at, labels, owner, node } => {
            let mut pod = json!({"metadata": metadata(0, *at, labels, *owner), "spec": {"containers": []}});
            if let Some(node) = node {
                pod["spec"]["nodeName"] = json!(format!("n{node}"));
            }
            put(cache, &served("", "pods"), &pod, revision);
        }
        Step::Selecting { kind, at, selector, labels, owner } => {
            let (group, plural) = KINDS[*kind];
            let metadata = metadata(*kind, *at, labels, *owner);
            let selector =
                if plural == "services" { label_map(&selector.0) } else { label_selector(selector) };
            let object = json!({"metadata": metadata, "spec": {"selector": selector, "template": {}}});
            put(cache, &served(group, plural), &object, revision);
        }
        Step::Remove { kind, at } => {
            let (group, plural) = KINDS[*kind];
            cache.remove(&served(group, plural), &Key::new(namespace(*at), &format!("o{at}")), revision, 0);
        }
    }
}

fn uids<'a, V: ObjectView>(views: impl IntoIterator<Item = &'a V>) -> Vec<String> {
    let mut uids: Vec<String> = views.into_iter().map(|view| view.object().header.uid.clone()).collect();
    uids.sort();
    uids
}

fn scan<'a, V: ObjectView>(
    cache: &'a ControllerCache,
    keep: impl Fn(&Header, &V) -> bool + 'a,
) -> Vec<String> {
    let all = cache.objects(&served(V::GROUP, V::PLURAL)).map(|(_, object)| object);
    let kept = all.filter_map(|object| {
        let view: &V = object.view()?;
        keep(object.header(), view).then_some(view)
    });
    uids(kept)
}

fn check_selecting<V: ObjectView>(
    cache: &ControllerCache,
    labels: &BTreeMap<String, String>,
) -> Result<(), TestCaseError> {
    let view = View::new(cache, 0, None);
    for namespace in ["a", "b"] {
        let found = uids(view.selecting::<V>(namespace, labels));
        let selects =
            |h: &Header, v: &V| h.namespace == namespace && v.selector().is_some_and(|s| s.matches(labels));
        prop_assert_eq!(found, scan::<V>(cache, selects));
    }
    Ok(())
}

fn check_all(cache: &ControllerCache, labels: &Labels, selector: &Selector) -> Result<(), TestCaseError> {
    let view = View::new(cache, 0, None);
    let labels = shim_model::object::string_map(&label_map(labels));
    check_selecting::<ReplicaSet>(cache, &labels)?;
    check_selecting::<Deployment>(cache, &labels)?;
    check_selecting::<Service>(cache, &labels)?;
    let selector = LabelSelector::decode(Some(&label_selector(selector)));
    for namespace in ["a", "b"] {
        let selected = |h: &Header, _: &Pod| h.namespace == namespace && selector.matches(&h.labels);
        prop_assert_eq!(uids(view.matching::<Pod>(namespace, &selector)), scan::<Pod>(cache, selected));
        let counted = |resource: GroupResource| {
            let all = cache.objects(&resource).filter(|(key, _)| &*key.namespace == namespace);
            (resource.resource().to_owned(), all.count())
        };
        let expected: BTreeMap<_, _> =
            KINDS.iter().map(|&(g, p)| counted(served(g, p))).filter(|(_, count)| *count > 0).collect();
        let counts: BTreeMap<_, _> =
            view.counts(namespace).map(|(r, count)| (r.resource().to_owned(), count)).collect();
        prop_assert_eq!(counts, expected);
    }
    for n in 0..4 {
        let node = format!("n{n}");
        prop_assert_eq!(
            uids(view.on_node::<Pod>(&node)),
            scan(cache, |_, p: &Pod| p.node() == Some(node.as_str()))
        );
        let uid = format!("uid-1-{n}");
        let controls = |h: &Header, _: &Pod| h.controller().is_some_and(|o| o.uid == uid);
        prop_assert_eq!(uids(view.controlled::<Pod>(&uid)), scan(cache, controls));
        let dependents: BTreeSet<String> = view.dependents(&uid).map(|(name, _)| name.to_string()).collect();
        let all = KINDS.iter().flat_map(|&(g, p)| {
            let resource = served(g, p);
            cache.objects(&resource).map(|(_, object)| (resource.clone(), object)).collect::<Vec<_>>()
        });
        let names = all.filter(|(_, o)| o.header().owners.iter().any(|owner| owner.uid == uid));
        let expected = names.map(|(resource, o)| ObjectName::of(resource, o.header()).to_string()).collect();
        prop_assert_eq!(dependents, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_indices_answer_as_a_full_scan(
        steps in proptest::collection::vec(step(), 1..40), labels in labels(), selector in selector(),
    ) {
        let mut cache = empty();
        for (revision, step) in steps.iter().enumerate() {
            play(&mut cache, step, revision as u64);
        }
        check_all(&cache, &labels, &selector)?;
        // Nothing is left in an index when every object is gone.
        for kind in 0..KINDS.len() {
            (0..6).for_each(|at| play(&mut cache, &Step::Remove { kind, at }, 100));
        }
        prop_assert!(cache.is_empty());
        prop_assert!(cache.indices.is_empty());
    }
}

/// A namespace with one application and `others` unrelated ones.
fn crowd(others: usize) -> ControllerCache {
    let mut cache = empty();
    let mut add = |group: &'static str, plural: &'static str, value: Value| {
        put(&mut cache, &served(group, plural), &value, 1);
    };
    add("", "namespaces", json!({"metadata": {"name": "ns", "uid": "ns"}}));
    add("", "nodes", json!({"metadata": {"name": "n", "uid": "n"}}));
    for n in 0..=others {
        let app = format!("app-{n}");
        let metadata = |name: &str| json!({"name": name, "namespace": "ns", "uid": format!("{name}-uid"), "labels": {"app": app}});
        let owned = |name: &str, owner: (&str, &str, &str)| {
            let mut metadata = metadata(name);
            metadata["ownerReferences"] = json!([{
                "apiVersion": owner.0, "kind": owner.1, "name": owner.2, "uid": format!("{}-uid", owner.2),
                "controller": true, "blockOwnerDeletion": true,
            }]);
            metadata
        };
        let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": app}}, "template": {"metadata": {"labels": {"app": app}}}});
        let (deployment, set, pod) = (format!("d{n}"), format!("d{n}-rs"), format!("d{n}-rs-pod"));
        add("apps", "deployments", json!({"metadata": metadata(&deployment), "spec": spec}));
        add(
            "apps",
            "replicasets",
            json!({"metadata": owned(&set, ("apps/v1", "Deployment", &deployment)), "spec": spec}),
        );
        let node = if n == 0 { "n".to_owned() } else { format!("other-{n}") };
        add(
            "",
            "pods",
            json!({"metadata": owned(&pod, ("apps/v1", "ReplicaSet", &set)), "spec": {"nodeName": node}}),
        );
        add("", "pods", json!({"metadata": metadata(&format!("orphan-{n}")), "spec": {}}));
        let service = json!({"metadata": metadata(&format!("s{n}")), "spec": {"selector": {"app": app}}});
        add("", "services", service);
        let mut slice = json!({"metadata": metadata(&format!("s{n}-slice"))});
        slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": format!("s{n}")});
        add("discovery.k8s.io", "endpointslices", slice);
        add("", "configmaps", json!({"metadata": metadata(&format!("c{n}"))}));
    }
    cache
}

/// Passes a change of each object of the first application to every controller and reconciles the keys. Returns how many
/// objects that reads.
fn work(cache: &ControllerCache) -> usize {
    let controllers = all(&ControllerConfig::default());
    let changed: [(&'static str, &'static str, &str, &str); 10] = [
        ("apps", "deployments", "ns", "d0"),
        ("apps", "replicasets", "ns", "d0-rs"),
        ("", "pods", "ns", "d0-rs-pod"),
        ("", "pods", "ns", "orphan-0"),
        ("", "services", "ns", "s0"),
        ("discovery.k8s.io", "endpointslices", "ns", "s0-slice"),
        ("", "configmaps", "ns", "c0"),
        ("", "nodes", "", "n"),
        ("", "nodes", "", "missing"),
        ("", "namespaces", "", "ns"),
    ];
    let mut visited = 0;
    for (group, plural, namespace, name) in changed {
        let resource = served(group, plural);
        let Some(object) = cache.object(&resource, &Key::new(namespace, name)) else { continue };
        for kind in [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Deleted] {
            let change = ObjectChange {
                resource: resource.clone(),
                kind,
                revision: 2,
                object: object.clone(),
                previous: None,
            };
            for controller in &controllers {
                let view = View::new(cache, 0, None);
                let keys: Keys = controller.keys(&change, &view);
                keys.iter().for_each(|key| drop(controller.reconcile(&view, key)));
                visited += view.visited();
            }
        }
    }
    visited
}

#[test]
fn work_per_change_does_not_grow_with_the_namespace() {
    let (alone, crowded) = (work(&crowd(0)), work(&crowd(300)));
    assert!(alone > 0);
    assert_eq!(alone, crowded);
}

#[test]
fn a_view_is_decoded_once_and_shared() {
    let mut cache = empty();
    let node = json!({"metadata": {"name": "n", "uid": "u"}});
    let change = put(&mut cache, &served("", "nodes"), &node, 7);
    let cached = cache.object(&served("", "nodes"), &Key::new("", "n")).unwrap();
    assert!(Arc::ptr_eq(
        &cached.shared_view::<Node>().unwrap(),
        &change.object.shared_view::<Node>().unwrap()
    ));
}

#[test]
fn a_node_is_missing_since_its_pods_were_found_without_it() {
    let mut cache = empty();
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "p"}, "spec": {"nodeName": "n"}});
    let node = json!({"metadata": {"name": "n", "uid": "n"}});
    let since = |cache: &ControllerCache| View::new(cache, 0, None).node_missing_since("n");
    let object = stored(&pod);
    let view = cache.decoder().decode(&served("", "pods"), &object, 1).unwrap();
    cache.put(&served("", "pods"), NewObject { object, revision: 1, view }, 5);
    assert_eq!(since(&cache), Some(5));
    put(&mut cache, &served("", "nodes"), &node, 2);
    assert_eq!(since(&cache), None);
    cache.remove(&served("", "nodes"), &Key::new("", "n"), 3, 9);
    assert_eq!(since(&cache), Some(9));
    cache.remove(&served("", "pods"), &Key::new("ns", "p"), 4, 10);
    assert_eq!(since(&cache), None);
}

/// A reconcile reads a snapshot while the informers go on.
#[test]
fn a_snapshot_stays_as_it_is() {
    let (mut cache, pods) = (empty(), served("", "pods"));
    let pod = |name: &str, label: &str| {
        json!({"metadata": {"namespace": "a", "name": name, "uid": name, "labels": {"l": label}},
            "spec": {"nodeName": "n"}})
    };
    for at in 0..100 {
        put(&mut cache, &pods, &pod(&format!("p{at}"), "old"), 1);
    }
    let snapshot = cache.clone();
    for at in 0..50 {
        put(&mut cache, &pods, &pod(&format!("p{at}"), "new"), 2);
        cache.remove(&pods, &Key::new("a", &format!("p{}", 50 + at)), 3, 0);
    }
    let selector = |label: &str| LabelSelector::decode(Some(&json!({"matchLabels": {"l": label}})));
    let found = |cache: &ControllerCache, label: &str| {
        View::new(cache, 0, None).matching::<Pod>("a", &selector(label)).len()
    };
    let on_node = |cache: &ControllerCache| View::new(cache, 0, None).on_node::<Pod>("n").count();
    assert_eq!(
        (snapshot.len(), found(&snapshot, "old"), found(&snapshot, "new"), on_node(&snapshot)),
        (100, 100, 0, 100)
    );
    assert_eq!((cache.len(), found(&cache, "old"), found(&cache, "new"), on_node(&cache)), (50, 0, 50, 50));
}
