//! Who prevails when objects and kernel differ, and what objects look like.

use std::collections::BTreeMap;

use kernel_model::resources::{Resources, Scalar};

use super::*;

fn quantities(text: &str) -> Quantities {
    Quantities::of(&text.parse::<Resources>().unwrap(), |_| true)
}

fn settings(weight: f64, guarantee: &str, limit: &str) -> Settings {
    let quota = Quota { guarantees: quantities(guarantee), limits: quantities(limit) };
    Settings { weight, quota }
}

fn report(role: &str, settings: &Settings) -> RoleReport {
    RoleReport {
        role: Role::parse(role).unwrap(),
        weight: settings.weight,
        quota: settings.quota.clone(),
        allocated: BTreeMap::from([
            ("pods".into(), quantities("cpus:1;mem:64")),
            ("spark".into(), quantities("cpus:2.5")),
        ]),
        reserved: Quantities::default(),
        dominant_share: 0.33333,
    }
}

fn object(name: &str, role: &str, spec: Value) -> Value {
    let mut object = json!({ "metadata": { "name": name, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "role": role } });
    access::object_mut(&mut object, &["spec"]).extend(spec.as_object().unwrap().clone());
    object
}

/// The object after it was looked at while these settings were in force.
fn looked_at(mut object: Value, in_force: &Settings) -> Value {
    let role = access::text(&object, &["spec", "role"]).to_owned();
    object["status"] = status(&object, Some(&report(&role, in_force)), None, None, "t");
    object
}

fn only(objects: &[Value], reports: &[RoleReport]) -> Decision {
    let decisions = decide(objects, reports);
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    decisions.into_iter().next().unwrap()
}

fn applied(object: Value, current: &Settings) -> (Settings, bool, Change, bool) {
    match only(&[object], &[report("a", current)]) {
        Decision::Apply { settings, write, set, release, .. } => (settings, write, set, release),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_has_changed_a_field_prevails() {
    let (old, new) = (settings(2.0, "cpus:1", ""), settings(3.0, "cpus:1", "mem:100"));
    let of_old = || looked_at(object("a", "a", json!({"weight": 2, "guarantee": {"cpu": 1}})), &old);
    let finalizer = |mut object: Value| {
        object["metadata"]["finalizers"] = json!([FINALIZER]);
        object
    };
    // Nothing has changed: nothing is done.
    let (same, write, set, _) = applied(finalizer(of_old()), &old);
    assert_eq!((same, write, set.is_empty()), (old.clone(), false, true));
    // A finalizer is missing.
    assert!(applied(of_old(), &old).1);
    // An operator has changed weight and limit.
    let (same, write, set, _) = applied(finalizer(of_old()), &new);
    assert_eq!((same, write, set.is_empty()), (new.clone(), true, true));
    // The object's weight was changed; the operator's limit stays.
    let mut changed = finalizer(of_old());
    changed["spec"]["weight"] = json!(5);
    let (both, write, set, _) = applied(changed, &new);
    assert_eq!((both, write), (settings(5.0, "cpus:1", "mem:100"), true));
    assert_eq!(set, Change { weight: Some(5.0), quota: None });
    // A field that was removed has its default.
    let mut removed = finalizer(of_old());
    removed["spec"].as_object_mut().unwrap().remove("guarantee");
    let (less, write, set, _) = applied(removed, &old);
    assert_eq!((less, write), (settings(2.0, "", ""), false));
    assert_eq!(set, Change { weight: None, quota: Some(Quota::default()) });
}

#[test]
fn a_new_object_adopts_what_it_does_not_say() {
    let current = settings(2.0, "cpus:1", "cpus:4");
    let (adopted, write, set, _) = applied(object("a", "a", json!({"weight": 7})), &current);
    assert_eq!((adopted, write), (settings(7.0, "cpus:1", "cpus:4"), true));
    assert_eq!(set, Change { weight: Some(7.0), quota: None });
    // A limit that is there and empty is none.
    let (adopted, ..) = applied(object("a", "a", json!({"limit": {}})), &current);
    assert_eq!(adopted, settings(2.0, "cpus:1", ""));
}

#[test]
fn a_deleted_object_resets_its_role_before_it_goes() {
    let current = settings(2.0, "", "cpus:4");
    let mut deleted = looked_at(object("a", "a", json!({"weight": 2, "limit": {"cpu": 4}})), &current);
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    deleted["metadata"]["finalizers"] = json!(["other", FINALIZER]);
    let (reset, write, set, release) = applied(deleted.clone(), &current);
    assert_eq!((reset, write, release), (Settings::default(), false, true));
    assert_eq!(set, Change { weight: Some(1.0), quota: Some(Quota::default()) });
    assert_eq!(without_finalizer(&deleted)["metadata"]["finalizers"], json!(["other"]));
    // Another object of the role keeps the settings.
    let other = looked_at(object("b", "a", json!({"weight": 2, "limit": {"cpu": 4}})), &current);
    let decisions = decide(&[deleted, other], &[report("a", &current)]);
    assert!(matches!(&decisions[0], Decision::Apply { name, set, .. } if name == "b" && set.is_empty()));
    assert!(matches!(&decisions[1], Decision::Ignore { name, release: true, .. } if name == "a"));
}

#[test]
fn roles_without_an_object_get_one_for_as_long_as_they_are_there() {
    let current = settings(2.0, "", "");
    let Decision::Create(created) = only(&[], &[report("k8s/team", &current)]) else { panic!() };
    assert_eq!(created["metadata"]["name"], "k8s.team");
    assert_eq!(created["spec"], json!({"role": "k8s/team", "weight": 2}));
    assert_eq!(created["metadata"]["finalizers"], json!([FINALIZER]));
    let Decision::Create(idle) = only(&[], &[report("a", &Settings::default())]) else { panic!() };
    assert_eq!(idle["metadata"].get("finalizers"), None);
    assert!(matches!(only(std::slice::from_ref(&idle), &[]), Decision::Delete { name } if name == "a"));
    // Somebody has given it a weight: it stays.
    let mut used = looked_at(idle, &Settings::default());
    used["spec"]["weight"] = json!(2);
    assert!(matches!(only(&[used], &[]), Decision::Apply { set: Change { weight: Some(2.0), .. }, .. }));
    // An object that a client made stays without one.
    let own = object("mine", "batch", json!({}));
    assert!(matches!(only(&[own], &[]), Decision::Apply { write: false, .. }));
}

#[test]
fn what_cannot_be_carried_out_says_why() {
    let why = |object: Value| match only(&[object], &[]) {
        Decision::Ignore { why, .. } => format!("{}: {}", why.reason, why.message),
        other => panic!("{other:?}"),
    };
    expect_test::expect![[r#"InvalidRole: Role '/a' cannot start with a slash"#]].assert_eq(&why(object(
        "a",
        "/a",
        json!({}),
    )));
    expect_test::expect![[r#"InvalidAmount: spec.limit[cpu]: "x" is not a quantity"#]]
        .assert_eq(&why(object("a", "a", json!({"limit": {"cpu": "x"}}))));
    expect_test::expect![[r#"InvalidAmount: spec.guarantee[memory]: must not be negative"#]]
        .assert_eq(&why(object("a", "a", json!({"guarantee": {"memory": "-1"}}))));
    let decisions = decide(&[object("x", "a", json!({})), object("b", "a", json!({}))], &[]);
    let Decision::Ignore { name, why, .. } = &decisions[1] else { panic!("{decisions:?}") };
    assert_eq!((name.as_str(), why.message.as_str()), ("x", "Role 'a' has the object 'b' already"));
}

#[test]
fn a_status_has_pods_and_tasks_apart() {
    let object = object("a", "a", json!({"weight": 2}));
    let report = report("a", &settings(2.0, "", "mem:1024"));
    let refused = Ineffective { reason: "Refused", message: "no".to_owned() };
    let status = status(&object, Some(&report), Some(&"pods".into()), Some(&refused), "2026-01-01T00:00:00Z");
    expect_test::expect![[r#"
        {
          "allocated": {
            "pods": {
              "cpu": "1",
              "memory": "64Mi"
            },
            "tasks": {
              "cpu": "2500m"
            }
          },
          "conditions": [
            {
              "lastTransitionTime": "2026-01-01T00:00:00Z",
              "message": "no",
              "observedGeneration": 1,
              "reason": "Refused",
              "status": "False",
              "type": "Applied"
            }
          ],
          "dominantShare": 0.333,
          "limit": {
            "memory": "1Gi"
          },
          "observedGeneration": 1,
          "weight": 2
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&status).unwrap());
}

#[test]
fn names_are_readable_where_they_can_be() {
    let named = |role: &str, taken: &[&str]| names::object_name(&Role::parse(role).unwrap(), taken);
    assert_eq!(named("k8s/default", &[]), "k8s.default");
    assert_eq!(named("batch", &["k8s.default"]), "batch");
    for role in ["a.b", "A", "a_b", "*", "é", &"x".repeat(300)] {
        let name = named(role, &[]);
        assert!(name.starts_with("role-") && name.len() == 21, "{role}: {name}");
    }
    assert_ne!(named("batch", &["batch"]), "batch");
}

#[test]
fn amounts_return_as_they_were_set() {
    let list = json!({"cpu": "1500m", "memory": "8Gi", "ephemeral-storage": "100Mi", "catamaran.dev/gpu": 2,
        "catamaran.dev/bandwidth": "0.5", "example.com/fpga": "3"});
    let amounts = amounts::parse("limit", &list).unwrap();
    assert_eq!(amounts.get("mem"), Some(Scalar(8_192_000)));
    assert_eq!(amounts.get("gpus"), Some(Scalar(2000)));
    assert_eq!(amounts.get("bandwidth"), Some(Scalar(500)));
    let shown = amounts::to_value(&amounts);
    expect_test::expect![[r#"{"catamaran.dev/bandwidth":"500m","catamaran.dev/gpu":"2","cpu":"1500m","ephemeral-storage":"100Mi","example.com/fpga":"3","memory":"8Gi"}"#]]
        .assert_eq(&shown.to_string());
    assert_eq!(amounts::parse("limit", &shown), Ok(amounts));
    // What is no whole number of thousandths of a MiB is rounded up, once.
    let odd = amounts::parse("limit", &json!({"memory": "1000000"})).unwrap();
    assert_eq!(amounts::parse("limit", &amounts::to_value(&odd)), Ok(odd));
}

#[test]
fn the_definition_is_valid_and_has_a_pattern_for_what_is_a_role() {
    let definitions = crate::definition::builtin();
    let strategy = definitions.iter().find(|row| row.kind == "CustomResourceDefinition").unwrap().strategy();
    let mut definition = definition::definition();
    strategy.default(&mut definition);
    assert_eq!(strategy.validate_create(&definition), []);
    let pattern =
        definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/role/pattern");
    let pattern = crate::go_regex::compile(pattern.unwrap().as_str().unwrap()).unwrap();
    let texts = [
        "*",
        "a",
        "k8s/default",
        "a/b/c",
        ".a",
        "..a",
        "*a",
        "a-",
        "a.b/é",
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "a/*",
        "-a",
        "a/-b",
        "a b",
        "a\n",
        "a\t/b",
        "...",
        "*/a",
        "a/.b",
    ];
    for text in texts {
        assert_eq!(pattern.is_match(text), Role::parse(text).is_ok(), "{text:?}");
    }
}

#[test]
fn what_a_client_makes_replaces_what_was_made_for_its_role() {
    let current = settings(2.0, "", "");
    let Decision::Create(made) = only(&[], &[report("k8s/team", &current)]) else { panic!() };
    let own = object("team", "k8s/team", json!({"weight": 3}));
    let decisions = decide(&[made, own], &[report("k8s/team", &current)]);
    assert!(
        matches!(&decisions[0], Decision::Apply { name, set: Change { weight: Some(3.0), .. }, .. } if name == "team")
    );
    assert!(matches!(&decisions[1], Decision::Delete { name } if name == "k8s.team"));
}

#[test]
fn what_has_not_changed_keeps_its_form() {
    let object = object("a", "a", json!({"weight": 4, "limit": {"cpu": "3000m", "memory": "1.5Gi"}}));
    let (changed, current) = (settings(8.0, "", "cpus:3;mem:1536"), settings(2.0, "cpus:1", ""));
    let changed = with_settings(&object, &object, &changed, &current);
    assert_eq!(
        changed["spec"],
        json!({"role": "a", "weight": 8, "limit": {"cpu": "3000m", "memory": "1.5Gi"}})
    );
    assert_eq!(changed["status"], json!({"observedGeneration": 1, "weight": 2, "guarantee": {"cpu": "1"}}));
    let reset = with_settings(&object, &object, &Settings::default(), &current);
    assert_eq!(reset["spec"], json!({"role": "a"}));
    // A client has changed it meanwhile: that is looked at first.
    let mut newer = object.clone();
    newer["metadata"]["generation"] = json!(2);
    assert_eq!(with_settings(&newer, &object, &Settings::default(), &current), newer);
}

/// One write of a look.
type Write = Box<dyn Fn(&mut Sides)>;

/// A kernel with one role, and the object of it.
#[derive(Default)]
struct Sides {
    kernel: Settings,
    object: Option<Value>,
}

impl Sides {
    /// Looks at both sides as the server does. It is killed after `writes`; and before the write `at`, an operator sets something.
    fn look(&mut self, writes: usize, operator: Option<(usize, Settings)>) {
        // The role is there as long as it has settings.
        let seen = self.kernel.clone();
        let reports: Vec<RoleReport> = match seen == Settings::default() {
            true => Vec::new(),
            false => vec![report("a", &seen)],
        };
        let objects: Vec<Value> = self.object.clone().into_iter().collect();
        let mut all: Vec<Write> = Vec::new();
        for decision in decide(&objects, &reports) {
            match decision {
                Decision::Create(mut object) => {
                    object["metadata"]["generation"] = json!(1);
                    all.push(Box::new(move |sides: &mut Sides| sides.object = Some(object.clone())));
                }
                Decision::Delete { .. } => all.push(Box::new(|sides: &mut Sides| sides.object = None)),
                Decision::Apply { settings, write, set, .. } => {
                    let (decided, now, seen) = (objects[0].clone(), settings.clone(), seen.clone());
                    if write {
                        all.push(Box::new(move |sides: &mut Sides| {
                            let old = sides.object.take().unwrap();
                            let mut new = with_settings(&old, &decided, &settings, &seen);
                            let grows = i64::from(new["spec"] != old["spec"]);
                            new["metadata"]["generation"] = json!(generation(&old).unwrap() + grows);
                            sides.object = Some(new);
                        }));
                    }
                    if !set.is_empty() {
                        let now = now.clone();
                        all.push(Box::new(move |sides: &mut Sides| sides.kernel = now.clone()));
                    }
                    all.push(Box::new(move |sides: &mut Sides| {
                        sides.object = sides.object.take().map(|object| looked_at(object, &now));
                    }));
                }
                Decision::Ignore { .. } => panic!("it has an effect"),
            }
        }
        for (number, write) in all.iter().enumerate().take(writes) {
            if let Some((_, settings)) = operator.as_ref().filter(|(at, _)| *at == number) {
                self.kernel = settings.clone();
            }
            write(self);
        }
        if let Some((_, settings)) = operator.filter(|(at, _)| *at >= all.len().min(writes)) {
            self.kernel = settings;
        }
    }
}

/// What an operator sets and removes stays so, whenever the server is killed and whatever it has just read.
#[test]
fn no_crash_brings_back_what_an_operator_has_removed() {
    let quotas = [settings(1.0, "", "cpus:4"), Settings::default(), settings(2.0, "cpus:1", "")];
    for first in &quotas {
        for second in &quotas {
            for third in &quotas {
                for case in 0..4 * 4 * 4 * 4 {
                    let (a, b, c, d) = (case % 4, case / 4 % 4, case / 16 % 4, case / 64);
                    let mut sides = Sides { kernel: first.clone(), object: None };
                    sides.look(a, None);
                    sides.look(b, Some((c, second.clone())));
                    sides.look(d, Some((0, third.clone())));
                    (0..3).for_each(|_| sides.look(usize::MAX, None));
                    assert_eq!(&sides.kernel, third, "case {case}: {first:?}, {second:?}, {third:?}");
                }
            }
        }
    }
}

/// Times are whole seconds, so that two objects which are applied together have the same.
#[test]
fn the_object_that_was_created_first_prevails() {
    let created = |name: &str, revision: u64| {
        let mut object = object(name, "a", json!({"weight": 2}));
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        object
    };
    let winner = |objects: &[Value]| {
        let decisions = decide(objects, &[report("a", &settings(1.0, "", ""))]);
        let applied = decisions.iter().find_map(|decision| match decision {
            Decision::Apply { name, .. } => Some(name.clone()),
            _ => None,
        });
        applied.unwrap()
    };
    // Revisions are numbers.
    assert_eq!(winner(&[created("a", 10), created("z", 9)]), "z");
    // Its status is written, which gives it a later revision than the others have.
    let first = |revision| looked_at(created("z", revision), &settings(2.0, "", ""));
    assert_eq!(winner(&[created("a", 10), first(11)]), "z");
    let mut second = created("a", 10);
    let why = Ineffective { reason: DUPLICATE, message: String::new() };
    second["status"] = status(&second, None, None, Some(&why), "t");
    assert_eq!(winner(&[second.clone(), first(12)]), "z");
    assert_eq!(winner(&[second.clone()]), "a", "the first is gone");
    // An older one prevails in any case.
    second["metadata"]["creationTimestamp"] = json!("2025-12-31T23:59:59Z");
    assert_eq!(winner(&[second, first(12)]), "a");
}

#[test]
fn a_quota_is_tried_in_parts_if_both_of_them_change() {
    let quota = |guarantee: &str, limit: &str| settings(1.0, guarantee, limit).quota;
    let parts = parts_of_quota(&quota("", "cpus:4"), &quota("cpus:1", "cpus:2"));
    assert_eq!(parts, [quota("cpus:1", "cpus:4"), quota("", "cpus:2")]);
    assert_eq!(parts_of_quota(&quota("cpus:1", ""), &quota("cpus:1", "cpus:2")), [], "it was tried already");
}
