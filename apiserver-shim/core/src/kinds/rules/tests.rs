//! Every table against the schema, and the checks by examples.

use super::*;
use crate::kinds::{
    api_service, certificate_signing_request, cron_job, daemon_set, device, flow_control,
    horizontal_pod_autoscaler, job, network, persistent_volume, persistent_volume_claim,
    pod_disruption_budget, replication_controller, runtime_class, stateful_set, storage, webhook,
};
use expect_test::expect;
use serde_json::json;
use shim_model::schema::{Schema, StructId, Type};

/// The tables, each with the type to whose values it applies.
const TABLES: &[(&str, &[Rule])] = &[
    ("batch.v1.JobSpec", job::validation::SPEC),
    ("batch.v1.JobStatus", job::status::STATUS),
    ("batch.v1.CronJob", cron_job::CRON_JOB),
    ("apps.v1.StatefulSetSpec", stateful_set::validation::SPEC),
    ("apps.v1.StatefulSetStatus", stateful_set::validation::STATUS),
    ("apps.v1.DaemonSetSpec", daemon_set::validation::SPEC),
    ("apps.v1.DaemonSetStatus", daemon_set::validation::STATUS),
    ("policy.v1.PodDisruptionBudget", pod_disruption_budget::BUDGET),
    ("policy.v1.PodDisruptionBudgetStatus", pod_disruption_budget::STATUS),
    ("autoscaling.v2.HorizontalPodAutoscalerSpec", horizontal_pod_autoscaler::validation::SPEC),
    ("autoscaling.v2.HorizontalPodAutoscalerStatus", horizontal_pod_autoscaler::validation::STATUS),
    ("networking.v1.IngressSpec", network::validation::INGRESS),
    ("networking.v1.IngressStatus", network::validation::INGRESS_STATUS),
    ("networking.v1.IngressClassSpec", network::validation::CLASS),
    ("networking.v1.NetworkPolicySpec", network::validation::POLICY),
    ("networking.v1.IPAddressSpec", network::validation::ADDRESS),
    ("networking.v1.ServiceCIDRSpec", network::validation::SERVICE_CIDR),
    ("core.v1.PersistentVolumeSpec", persistent_volume::validation::SPEC),
    ("core.v1.PersistentVolumeClaimSpec", persistent_volume_claim::validation::SPEC),
    ("core.v1.PersistentVolumeClaimStatus", persistent_volume_claim::validation::STATUS),
    ("core.v1.ReplicationControllerSpec", replication_controller::SPEC),
    ("core.v1.ReplicationControllerStatus", replication_controller::STATUS),
    ("storage.v1.StorageClass", storage::validation::CLASS),
    ("storage.v1.VolumeAttributesClass", storage::validation::ATTRIBUTES_CLASS),
    ("storage.v1.CSIDriverSpec", storage::validation::DRIVER),
    ("storage.v1.CSINodeSpec", storage::validation::NODE),
    ("storage.v1.CSIStorageCapacity", storage::validation::CAPACITY),
    ("storage.v1.VolumeAttachment", storage::validation::ATTACHMENT),
    ("node.v1.RuntimeClass", runtime_class::CLASS),
    ("apiregistration.v1.APIServiceSpec", api_service::SPEC),
    ("apiregistration.v1.APIServiceStatus", api_service::STATUS),
    ("flowcontrol.v1.FlowSchemaSpec", flow_control::validation::SCHEMA),
    ("flowcontrol.v1.PriorityLevelConfigurationSpec", flow_control::validation::LEVEL),
    ("certificates.v1.CertificateSigningRequestSpec", certificate_signing_request::validation::SPEC),
    ("admissionregistration.v1.ValidatingWebhook", webhook::validation::WEBHOOK),
    ("admissionregistration.v1.MutatingWebhook", webhook::validation::MUTATING),
    ("resource.v1.ResourceClaimSpec", device::validation::CLAIM),
    ("resource.v1.DeviceClassSpec", device::validation::CLASS),
    ("resource.v1.ResourceSliceSpec", device::validation::SLICE_DRIVER),
    ("resource.v1.ResourceSliceSpec", device::validation::SLICE),
];

fn below(schema: &Schema, ty: Type) -> Option<StructId> {
    match ty {
        Type::Struct(id) => Some(id),
        Type::List(item) | Type::Map(item) => below(schema, schema.item(item)),
        _ => None,
    }
}

/// The members that the rules name and the type does not have.
fn missing(schema: &Schema, ty: StructId, rules: &[Rule], out: &mut Vec<String>) {
    for rule in rules {
        let (name, below_it) = match rule {
            Rule::Field(name, _) => (name, None),
            Rule::Within(name, rules) | Rule::Each(name, rules) => (name, Some(rules)),
            Rule::Code(_) => continue,
        };
        match schema.at(ty).field(name) {
            None => out.push(format!("{}.{name}", schema.at(ty).name)),
            Some(field) => {
                if let (Some(rules), Some(id)) = (below_it, below(schema, field.ty)) {
                    missing(schema, id, rules, out);
                }
            }
        }
    }
}

#[test]
fn every_rule_is_about_a_member_of_its_type() {
    let schema = Schema::builtin();
    let mut wrong = Vec::new();
    for (name, rules) in TABLES {
        let named = |package: &str| schema.named(&format!("io.k8s.{package}.{name}"));
        let id = ["api", "kube-aggregator.pkg.apis"].into_iter().find_map(named);
        let id = id.unwrap_or_else(|| panic!("no type {name}"));
        missing(&schema, id, rules, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_check_reports_in_upstreams_words() {
    const RULES: &[Rule] = &[
        Rule::Field("a", &[Check::Required, Check::Enum(&["x", "y"])]),
        Rule::Field("b", &[Check::NonNegative]),
        Rule::Field("c", &[Check::AtMost(3, "must be at most 3"), Check::AtLeast(1, "must be at least 1")]),
        Rule::Field("d", &[Check::RequiredBecause("it is needed")]),
        Rule::Field("e", &[Check::MaxBytes(2)]),
        Rule::Each("f", &[Rule::Field("g", &[Check::Format(names::dns_label)])]),
        Rule::Within("h", &[Rule::Field("i", &[Check::Required])]),
        Rule::Within("absent", &[Rule::Field("i", &[Check::Required])]),
    ];
    let shown = |object: Value| {
        validate(RULES, &object).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    expect![[r#"
        a: Required value
        d: Required value: it is needed"#]]
    .assert_eq(&shown(json!({})));
    expect![[r#"
        a: Unsupported value: "z": supported values: "x", "y"
        b: Invalid value: -1: must be greater than or equal to 0
        c: Invalid value: 4: must be at most 3
        e: Too long: may not be more than 2 bytes
        f[1].g: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        h.i: Required value"#]]
    .assert_eq(&shown(json!({
        "a": "z", "b": -1, "c": 4, "d": 1, "e": "abc", "f": [{"g": "a"}, {"g": "A"}], "h": {},
    })));
}
