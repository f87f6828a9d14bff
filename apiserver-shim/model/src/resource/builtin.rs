//! The table of built-in resources: a row has the kind, its type, names, verbs and subresources.

use std::sync::Arc;

use super::Verb::{self, *};
use super::{KindRef, Resource, ServedSubresource};
use crate::schema::Schema;
use crate::schema::roots::{Root, root};
use crate::table;
use k8s_openapi::api::{
    admissionregistration::v1 as admissionregistration, apps::v1 as apps,
    authentication::v1 as authentication, authorization::v1 as authorization,
    autoscaling::v1 as autoscaling_v1, autoscaling::v2 as autoscaling, batch::v1 as batch,
    certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, flowcontrol::v1 as flowcontrol,
    networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac,
    resource::v1 as resource, scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;

/// The built-in resources, group by group; `schema` is that of the built-in kinds.
pub fn builtin(schema: &Arc<Schema>) -> Vec<Resource> {
    TABLE.iter().map(|row| row.to_resource(schema)).collect()
}

/// The kinds of the built-in resources with their types.
pub(crate) fn builtin_roots() -> impl Iterator<Item = &'static Root> {
    TABLE.iter().map(|row| &row.root)
}

const FULL: &[Verb] = &Verb::ALL;
const NO_COLLECTION_DELETE: &[Verb] = &[Create, Delete, Get, List, Patch, Update, Watch];
const CREATE: &[Verb] = &[Create];
const GET: &[Verb] = &[Get];
const READ: &[Verb] = &[Get, List];
const STREAM: &[Verb] = &[Create, Get];
const PROXY: &[Verb] = &[Create, Delete, Get, Patch, Update];
const WRITE: &[Verb] = &[Get, Patch, Update];

const SCALE: KindRef<'static> = KindRef { group: "autoscaling", version: "v1", kind: "Scale" };

struct Row {
    /// The kind of its objects and their type.
    root: Root,
    plural: &'static str,
    namespaced: bool,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    verbs: &'static [Verb],
    subresources: &'static [SubresourceRow],
    /// Group and version of the storage; the row's own if `None`.
    stored_in: Option<(&'static str, &'static str)>,
}

struct SubresourceRow {
    name: &'static str,
    /// The kind of its bodies; the resource's own if `None`.
    kind: Option<KindRef<'static>>,
    verbs: &'static [Verb],
}

const fn sub(name: &'static str, kind: KindRef<'static>, verbs: &'static [Verb]) -> SubresourceRow {
    SubresourceRow { name, kind: Some(kind), verbs }
}

/// A subresource whose bodies are objects of the resource.
const fn same(name: &'static str, verbs: &'static [Verb]) -> SubresourceRow {
    SubresourceRow { name, kind: None, verbs }
}

const fn row(root: Root, plural: &'static str, namespaced: bool) -> Row {
    Row {
        root,
        plural,
        namespaced,
        short_names: &[],
        categories: &[],
        verbs: FULL,
        subresources: &[],
        stored_in: None,
    }
}

const fn namespaced(root: Root, plural: &'static str) -> Row {
    row(root, plural, true)
}

const fn cluster(root: Root, plural: &'static str) -> Row {
    row(root, plural, false)
}

impl Row {
    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names;
        self
    }
    const fn in_all(self) -> Self {
        self.category(&["all"])
    }
    const fn category(mut self, categories: &'static [&'static str]) -> Self {
        self.categories = categories;
        self
    }
    const fn verbs(mut self, verbs: &'static [Verb]) -> Self {
        self.verbs = verbs;
        self
    }
    const fn with(mut self, subresources: &'static [SubresourceRow]) -> Self {
        self.subresources = subresources;
        self
    }
    const fn stored_in(mut self, group: &'static str, version: &'static str) -> Self {
        self.stored_in = Some((group, version));
        self
    }

    fn to_resource(&self, schema: &Arc<Schema>) -> Resource {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let kind = self.root.kind;
        let subresource = |row: &SubresourceRow| {
            let kind = row.kind.unwrap_or(kind);
            ServedSubresource {
                name: row.name.to_owned(),
                kind: kind.to_owned(),
                object_type: schema.object_type(kind),
                verbs: row.verbs.to_vec(),
            }
        };
        let (storage_group, storage_version) = self.stored_in.unwrap_or((kind.group, kind.version));
        Resource {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            plural: self.plural.to_owned(),
            singular: kind.kind.to_lowercase(),
            kind: kind.kind.to_owned(),
            list_kind: format!("{}List", kind.kind),
            namespaced: self.namespaced,
            short_names: owned(self.short_names),
            categories: owned(self.categories),
            verbs: self.verbs.to_vec(),
            subresources: self.subresources.iter().map(subresource).collect(),
            storage_group: storage_group.to_owned(),
            storage_version: storage_version.to_owned(),
            object_type: schema.object_type(kind).expect("invariant: every built-in kind has a root"),
            columns: table::builtin_columns(&kind.api_version(), self.plural),
            custom: None,
        }
    }
}

static TABLE: &[Row] = &[
    namespaced(root::<core::Binding>("", "v1", "Binding"), "bindings").verbs(CREATE),
    cluster(root::<core::ComponentStatus>("", "v1", "ComponentStatus"), "componentstatuses")
        .short(&["cs"])
        .verbs(READ),
    namespaced(root::<core::ConfigMap>("", "v1", "ConfigMap"), "configmaps").short(&["cm"]),
    namespaced(root::<core::Endpoints>("", "v1", "Endpoints"), "endpoints").short(&["ep"]),
    namespaced(root::<core::Event>("", "v1", "Event"), "events").short(&["ev"]),
    namespaced(root::<core::LimitRange>("", "v1", "LimitRange"), "limitranges").short(&["limits"]),
    namespaced(root::<core::ResourceQuota>("", "v1", "ResourceQuota"), "resourcequotas")
        .short(&["quota"])
        .with(&[same("status", WRITE)]),
    cluster(root::<core::Namespace>("", "v1", "Namespace"), "namespaces")
        .short(&["ns"])
        .verbs(NO_COLLECTION_DELETE)
        .with(&[same("finalize", &[Update]), same("status", WRITE)]),
    cluster(root::<core::Node>("", "v1", "Node"), "nodes").short(&["no"]).with(&[
        sub("proxy", KindRef { group: "", version: "v1", kind: "NodeProxyOptions" }, PROXY),
        same("status", WRITE),
    ]),
    namespaced(
        root::<core::PersistentVolumeClaim>("", "v1", "PersistentVolumeClaim"),
        "persistentvolumeclaims",
    )
    .short(&["pvc"])
    .with(&[same("status", WRITE)]),
    cluster(root::<core::PersistentVolume>("", "v1", "PersistentVolume"), "persistentvolumes")
        .short(&["pv"])
        .with(&[same("status", WRITE)]),
    namespaced(root::<core::Pod>("", "v1", "Pod"), "pods").short(&["po"]).in_all().with(&[
        sub("attach", KindRef { group: "", version: "v1", kind: "PodAttachOptions" }, STREAM),
        sub("binding", KindRef { group: "", version: "v1", kind: "Binding" }, CREATE),
        same("ephemeralcontainers", WRITE),
        sub("eviction", KindRef { group: "policy", version: "v1", kind: "Eviction" }, CREATE),
        sub("exec", KindRef { group: "", version: "v1", kind: "PodExecOptions" }, STREAM),
        same("log", GET),
        sub("portforward", KindRef { group: "", version: "v1", kind: "PodPortForwardOptions" }, STREAM),
        sub("proxy", KindRef { group: "", version: "v1", kind: "PodProxyOptions" }, PROXY),
        same("resize", WRITE),
        same("status", WRITE),
    ]),
    namespaced(root::<core::PodTemplate>("", "v1", "PodTemplate"), "podtemplates"),
    namespaced(
        root::<core::ReplicationController>("", "v1", "ReplicationController"),
        "replicationcontrollers",
    )
    .short(&["rc"])
    .in_all()
    .with(&[sub("scale", SCALE, WRITE), same("status", WRITE)]),
    namespaced(root::<core::Secret>("", "v1", "Secret"), "secrets"),
    namespaced(root::<core::ServiceAccount>("", "v1", "ServiceAccount"), "serviceaccounts")
        .short(&["sa"])
        .with(&[sub(
            "token",
            KindRef { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" },
            CREATE,
        )]),
    namespaced(root::<core::Service>("", "v1", "Service"), "services").short(&["svc"]).in_all().with(&[
        sub("proxy", KindRef { group: "", version: "v1", kind: "ServiceProxyOptions" }, PROXY),
        same("status", WRITE),
    ]),
    namespaced(root::<apps::ControllerRevision>("apps", "v1", "ControllerRevision"), "controllerrevisions"),
    namespaced(root::<apps::DaemonSet>("apps", "v1", "DaemonSet"), "daemonsets")
        .short(&["ds"])
        .in_all()
        .with(&[same("status", WRITE)]),
    namespaced(root::<apps::Deployment>("apps", "v1", "Deployment"), "deployments")
        .short(&["deploy"])
        .in_all()
        .with(&[sub("scale", SCALE, WRITE), same("status", WRITE)]),
    namespaced(root::<apps::ReplicaSet>("apps", "v1", "ReplicaSet"), "replicasets")
        .short(&["rs"])
        .in_all()
        .with(&[sub("scale", SCALE, WRITE), same("status", WRITE)]),
    namespaced(root::<apps::StatefulSet>("apps", "v1", "StatefulSet"), "statefulsets")
        .short(&["sts"])
        .in_all()
        .with(&[sub("scale", SCALE, WRITE), same("status", WRITE)]),
    namespaced(root::<events::Event>("events.k8s.io", "v1", "Event"), "events")
        .short(&["ev"])
        .stored_in("", "v1"),
    cluster(
        root::<authentication::SelfSubjectReview>("authentication.k8s.io", "v1", "SelfSubjectReview"),
        "selfsubjectreviews",
    )
    .verbs(CREATE),
    cluster(
        root::<authentication::TokenReview>("authentication.k8s.io", "v1", "TokenReview"),
        "tokenreviews",
    )
    .verbs(CREATE),
    namespaced(
        root::<authorization::LocalSubjectAccessReview>(
            "authorization.k8s.io",
            "v1",
            "LocalSubjectAccessReview",
        ),
        "localsubjectaccessreviews",
    )
    .verbs(CREATE),
    cluster(
        root::<authorization::SelfSubjectAccessReview>(
            "authorization.k8s.io",
            "v1",
            "SelfSubjectAccessReview",
        ),
        "selfsubjectaccessreviews",
    )
    .verbs(CREATE),
    cluster(
        root::<authorization::SelfSubjectRulesReview>("authorization.k8s.io", "v1", "SelfSubjectRulesReview"),
        "selfsubjectrulesreviews",
    )
    .verbs(CREATE),
    cluster(
        root::<authorization::SubjectAccessReview>("authorization.k8s.io", "v1", "SubjectAccessReview"),
        "subjectaccessreviews",
    )
    .verbs(CREATE),
    namespaced(
        root::<autoscaling::HorizontalPodAutoscaler>("autoscaling", "v2", "HorizontalPodAutoscaler"),
        "horizontalpodautoscalers",
    )
    .short(&["hpa"])
    .in_all()
    .with(&[same("status", WRITE)]),
    namespaced(
        root::<autoscaling_v1::HorizontalPodAutoscaler>("autoscaling", "v1", "HorizontalPodAutoscaler"),
        "horizontalpodautoscalers",
    )
    .short(&["hpa"])
    .in_all()
    .with(&[same("status", WRITE)])
    .stored_in("autoscaling", "v2"),
    namespaced(root::<batch::CronJob>("batch", "v1", "CronJob"), "cronjobs")
        .short(&["cj"])
        .in_all()
        .with(&[same("status", WRITE)]),
    namespaced(root::<batch::Job>("batch", "v1", "Job"), "jobs").in_all().with(&[same("status", WRITE)]),
    cluster(
        root::<certificates::CertificateSigningRequest>(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
        ),
        "certificatesigningrequests",
    )
    .short(&["csr"])
    .with(&[same("approval", WRITE), same("status", WRITE)]),
    cluster(root::<networking::IngressClass>("networking.k8s.io", "v1", "IngressClass"), "ingressclasses"),
    namespaced(root::<networking::Ingress>("networking.k8s.io", "v1", "Ingress"), "ingresses")
        .short(&["ing"])
        .with(&[same("status", WRITE)]),
    cluster(root::<networking::IPAddress>("networking.k8s.io", "v1", "IPAddress"), "ipaddresses")
        .short(&["ip"]),
    namespaced(
        root::<networking::NetworkPolicy>("networking.k8s.io", "v1", "NetworkPolicy"),
        "networkpolicies",
    )
    .short(&["netpol"]),
    cluster(root::<networking::ServiceCIDR>("networking.k8s.io", "v1", "ServiceCIDR"), "servicecidrs")
        .with(&[same("status", WRITE)]),
    namespaced(
        root::<policy::PodDisruptionBudget>("policy", "v1", "PodDisruptionBudget"),
        "poddisruptionbudgets",
    )
    .short(&["pdb"])
    .with(&[same("status", WRITE)]),
    cluster(root::<storage::CSIDriver>("storage.k8s.io", "v1", "CSIDriver"), "csidrivers"),
    cluster(root::<storage::CSINode>("storage.k8s.io", "v1", "CSINode"), "csinodes"),
    namespaced(
        root::<storage::CSIStorageCapacity>("storage.k8s.io", "v1", "CSIStorageCapacity"),
        "csistoragecapacities",
    ),
    cluster(root::<storage::StorageClass>("storage.k8s.io", "v1", "StorageClass"), "storageclasses")
        .short(&["sc"]),
    cluster(
        root::<storage::VolumeAttachment>("storage.k8s.io", "v1", "VolumeAttachment"),
        "volumeattachments",
    )
    .with(&[same("status", WRITE)]),
    cluster(
        root::<storage::VolumeAttributesClass>("storage.k8s.io", "v1", "VolumeAttributesClass"),
        "volumeattributesclasses",
    )
    .short(&["vac"]),
    cluster(
        root::<admissionregistration::MutatingAdmissionPolicy>(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingAdmissionPolicy",
        ),
        "mutatingadmissionpolicies",
    )
    .category(&["api-extensions"]),
    cluster(
        root::<admissionregistration::MutatingAdmissionPolicyBinding>(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingAdmissionPolicyBinding",
        ),
        "mutatingadmissionpolicybindings",
    )
    .category(&["api-extensions"]),
    cluster(
        root::<admissionregistration::MutatingWebhookConfiguration>(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
        ),
        "mutatingwebhookconfigurations",
    )
    .category(&["api-extensions"]),
    cluster(
        root::<admissionregistration::ValidatingAdmissionPolicy>(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicy",
        ),
        "validatingadmissionpolicies",
    )
    .category(&["api-extensions"])
    .with(&[same("status", WRITE)]),
    cluster(
        root::<admissionregistration::ValidatingAdmissionPolicyBinding>(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicyBinding",
        ),
        "validatingadmissionpolicybindings",
    )
    .category(&["api-extensions"]),
    cluster(
        root::<admissionregistration::ValidatingWebhookConfiguration>(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
        ),
        "validatingwebhookconfigurations",
    )
    .category(&["api-extensions"]),
    cluster(root::<apiregistration::APIService>("apiregistration.k8s.io", "v1", "APIService"), "apiservices")
        .category(&["api-extensions"])
        .with(&[same("status", WRITE)]),
    cluster(root::<scheduling::PriorityClass>("scheduling.k8s.io", "v1", "PriorityClass"), "priorityclasses")
        .short(&["pc"]),
    namespaced(root::<coordination::Lease>("coordination.k8s.io", "v1", "Lease"), "leases"),
    cluster(
        root::<apiextensions::CustomResourceDefinition>(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
        ),
        "customresourcedefinitions",
    )
    .short(&["crd", "crds"])
    .category(&["api-extensions"])
    .with(&[same("status", WRITE)]),
    cluster(root::<node::RuntimeClass>("node.k8s.io", "v1", "RuntimeClass"), "runtimeclasses"),
    namespaced(root::<discovery::EndpointSlice>("discovery.k8s.io", "v1", "EndpointSlice"), "endpointslices"),
    cluster(root::<resource::DeviceClass>("resource.k8s.io", "v1", "DeviceClass"), "deviceclasses"),
    namespaced(root::<resource::ResourceClaim>("resource.k8s.io", "v1", "ResourceClaim"), "resourceclaims")
        .with(&[same("status", WRITE)]),
    namespaced(
        root::<resource::ResourceClaimTemplate>("resource.k8s.io", "v1", "ResourceClaimTemplate"),
        "resourceclaimtemplates",
    ),
    cluster(root::<resource::ResourceSlice>("resource.k8s.io", "v1", "ResourceSlice"), "resourceslices"),
    cluster(
        root::<flowcontrol::FlowSchema>("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"),
        "flowschemas",
    )
    .with(&[same("status", WRITE)]),
    cluster(
        root::<flowcontrol::PriorityLevelConfiguration>(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
        ),
        "prioritylevelconfigurations",
    )
    .with(&[same("status", WRITE)]),
    cluster(
        root::<rbac::ClusterRoleBinding>("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
        "clusterrolebindings",
    ),
    cluster(root::<rbac::ClusterRole>("rbac.authorization.k8s.io", "v1", "ClusterRole"), "clusterroles"),
    namespaced(root::<rbac::RoleBinding>("rbac.authorization.k8s.io", "v1", "RoleBinding"), "rolebindings"),
    namespaced(root::<rbac::Role>("rbac.authorization.k8s.io", "v1", "Role"), "roles"),
];
