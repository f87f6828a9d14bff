//! Properties of server-side apply, over sequences of configurations of several managers.

use super::*;
use proptest::prelude::*;

/// Configurations of a Deployment out of a few members, so that managers meet.
fn config() -> impl Strategy<Value = Value> {
    let env = proptest::collection::btree_map(0..3_u8, 0..2_u8, 0..3);
    let container = (0..2_u8, proptest::option::of(0..2_u8), env, proptest::option::of(0..3_u8));
    let containers = proptest::collection::btree_map(0..3_u8, container, 1..3);
    let labels = proptest::collection::btree_map(0..3_u8, 0..2_u8, 1..3);
    (containers, labels, proptest::option::of(0..3_u8)).prop_map(|(containers, labels, replicas)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, (image, pull, env, port))| {
                let mut out = json!({"name": format!("c{name}"), "image": format!("i{image}")});
                let env: Vec<Value> = env
                    .into_iter()
                    .map(|(k, v)| json!({"name": format!("E{k}"), "value": v.to_string()}))
                    .collect();
                if !env.is_empty() {
                    out["env"] = env.into();
                }
                if let Some(pull) = pull {
                    out["imagePullPolicy"] = ["Always", "Never"][usize::from(pull)].into();
                }
                if let Some(port) = port {
                    out["ports"] = json!([{"containerPort": port}]);
                }
                out
            })
            .collect();
        let labels: Map<String, Value> =
            labels.into_iter().map(|(k, v)| (format!("l{k}"), v.to_string().into())).collect();
        let mut spec = json!({"template": {"spec": {"containers": containers}}});
        if let Some(replicas) = replicas {
            spec["replicas"] = replicas.into();
        }
        json!({"metadata": {"name": "x", "labels": labels}, "spec": spec})
    })
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(configs in proptest::collection::vec((0..3_usize, config()), 1..6)) {
        let mut scene = Scene::of("Deployment");
        for (manager, config) in configs {
            let manager = ["m0", "m1", "m2"][manager];
            scene.try_apply(manager, config.clone(), true).expect("force resolves conflicts");
            let once = scene.object.clone();
            scene.try_apply(manager, config.clone(), false).expect("what is applied is no conflict");
            prop_assert_eq!(&scene.object, &once);
            // The long way, which parses all entries, comes to the same result.
            let full = scene.config(config);
            let options = ApplyOptions { writer: scene.writer(manager), force: false };
            let once = once.expect("it exists");
            let known = entries::parse(access::list(&once, &MANAGED_FIELDS)).expect("they are well-formed");
            let run = Run { options, updater: Updater::new(options.writer) };
            let again = run.apply(Some(&once), &full, known).expect("what is applied is no conflict");
            prop_assert_eq!(again, once);
        }
    }

    #[test]
    fn owners_have_what_they_applied_and_the_object_has_nothing_else(
        configs in proptest::collection::vec((0..3_usize, config()), 1..6),
    ) {
        let mut scene = Scene::of("Deployment");
        let mut last: [Option<Value>; 3] = Default::default();
        for (manager, config) in configs {
            scene.try_apply(["m0", "m1", "m2"][manager], config.clone(), true).expect("force resolves conflicts");
            let object = scene.object.clone().expect("it exists");
            last[manager] = Some(scene.config(config));
            // The object has the applier's values: merging them again changes nothing.
            let applied = last[manager].as_ref().expect("it was just set");
            prop_assert!(covers(scene.ty, &object, applied));
            let entries = entries::parse(access::list(&object, &MANAGED_FIELDS)).expect("they are well-formed");
            let mut owned = FieldSet::default();
            for entry in &entries {
                let at = usize::from(entry.id.manager.as_bytes()[1] - b'0');
                let mut fields = to_field_set(scene.ty, last[at].as_ref().expect("it has applied"));
                disown_system_fields(&mut fields);
                // Nobody owns more than was applied; who applied last owns all of it.
                prop_assert!(entry.fields.difference(&fields).is_empty());
                prop_assert!(at != manager || entry.fields == fields);
                owned = owned.union(&entry.fields);
            }
            // Every leaf of the object is somebody's, but for what every object of the type has.
            let mut all = to_field_set(scene.ty, &object);
            disown_system_fields(&mut all);
            all.remove(&["status"]);
            let left: Vec<String> = all.difference(&owned).paths().iter().map(|p| show_path(p)).collect();
            let implicit = |p: &String| p.ends_with(".resources") || p.ends_with(".strategy") || p.ends_with(".metadata") || p == ".spec.selector";
            prop_assert!(left.iter().all(implicit), "{:?}", left);
        }
    }

    #[test]
    fn sets_obey_their_algebra(a in config(), b in config()) {
        let ty = ty("Deployment");
        let scene = Scene::of("Deployment");
        let (left, right) = (to_field_set(ty, &scene.config(a)), to_field_set(ty, &scene.config(b)));
        let both = left.intersection(&right);
        prop_assert_eq!(left.difference(&right).union(&both), left.clone());
        prop_assert_eq!(left.union(&right).difference(&right), left.difference(&right));
        prop_assert_eq!(both.clone(), right.intersection(&left));
        for path in left.union(&right).paths() {
            prop_assert_eq!(both.has(&path), left.has(&path) && right.has(&path));
        }
        let encoded = left.to_value();
        prop_assert_eq!(FieldSet::parse(&encoded), Some(left.clone()));
        prop_assert!(left.difference(&left).is_empty());
        let mut rebuilt = FieldSet::default();
        left.paths().iter().for_each(|path| rebuilt.insert(path));
        prop_assert_eq!(rebuilt, left);
    }
}
