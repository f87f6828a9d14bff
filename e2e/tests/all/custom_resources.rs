//! The real kubectl defines a resource and uses it. The API server runs in this process, without nodes.

use std::{fs, time::Duration};

use e2e::program::wait_for;
use serde_json::json;

use crate::catalog::{ApiServer, words};

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: crontabs.stable.example.com
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What is wanted.
            required: [cronSpec]
            properties:
              cronSpec: {type: string, pattern: '^(\S+ ){4}\S+$', description: When it runs.}
              image: {type: string, default: busybox}
              replicas: {type: integer, minimum: 0, maximum: 10}
          status:
            type: object
            properties:
              replicas: {type: integer}
              labelSelector: {type: string}
    subresources:
      status: {}
      scale:
        specReplicasPath: .spec.replicas
        statusReplicasPath: .status.replicas
        labelSelectorPath: .status.labelSelector
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Image, type: string, jsonPath: .spec.image, priority: 1}
    selectableFields: [{jsonPath: .spec.image}]
"#;

#[test]
fn kubectl_defines_a_resource_and_uses_it() -> anyhow::Result<()> {
    let server = ApiServer::start()?;
    let kubectl = server.kubectl();
    let crd = server.data().join("crd.yaml");
    fs::write(&crd, CRD)?;
    let crd = crd.to_string_lossy().into_owned();
    for _ in 0..2 {
        kubectl.ok(&["apply", "-f", &crd])?;
    }
    kubectl.ok(&[
        "wait",
        "--for=condition=Established",
        "crd/crontabs.stable.example.com",
        "--timeout=60s",
    ])?;
    let resources = kubectl.ok(&["api-resources", "--api-group=stable.example.com", "--no-headers"])?;
    assert_eq!(words(&resources), ["crontabs", "ct", "stable.example.com/v1", "true", "CronTab"]);
    let explained = kubectl.ok(&["explain", "crontab.spec.cronSpec"])?;
    assert!(explained.contains("When it runs."), "{explained}");

    let object = |spec: serde_json::Value| json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "one"}, "spec": spec});
    let file = server.data().join("object.json");
    let path = file.to_string_lossy().into_owned();
    fs::write(&file, object(json!({"cronSpec": "* * * * */5", "replicas": 1})).to_string())?;
    kubectl.ok(&["apply", "-f", &path])?;
    kubectl.ok(&["apply", "--server-side", "--force-conflicts", "-f", &path])?;
    let table = kubectl.ok(&["get", "ct", "-o", "wide"])?;
    let rows: Vec<Vec<&str>> = table.lines().map(words).collect();
    assert_eq!(rows[0], ["NAME", "SPEC", "REPLICAS", "IMAGE"]);
    assert_eq!(rows[1], ["one", "*", "*", "*", "*", "*/5", "1", "busybox"]);
    kubectl.ok(&["scale", "ct/one", "--replicas=3"])?;
    assert_eq!(kubectl.ok(&["get", "ct", "one", "-o", "jsonpath={.spec.replicas}"])?, "3");
    let status = r#"{"status":{"replicas":3}}"#;
    kubectl.ok(&["patch", "ct", "one", "--type=merge", "--subresource=status", "--patch", status])?;
    assert_eq!(
        kubectl.ok(&["get", "ct", "one", "-o", "jsonpath={.status.replicas}/{.metadata.generation}"])?,
        "3/2"
    );
    let selected = kubectl.ok(&["get", "ct", "--field-selector=spec.image=other", "-o", "name"])?;
    assert_eq!(selected, "");

    for (spec, wanted) in [
        (json!({"cronSpec": "never"}), "spec.cronSpec in body should match"),
        (json!({"replicas": 1}), "spec.cronSpec: Required value"),
        (json!({"cronSpec": "* * * * *", "replicas": 11}), "should be less than or equal to 10"),
        (json!({"cronSpec": "* * * * *", "bogus": 1}), "unknown field \"spec.bogus\""),
    ] {
        fs::write(&file, object(spec.clone()).to_string())?;
        let refused = kubectl.run(&["replace", "--validate=strict", "-f", &path])?;
        assert!(!refused.status.success() && refused.stderr.contains(wanted), "{spec}: {refused:?}");
    }
    kubectl.ok(&["delete", "-f", &crd])?;
    let gone = || Ok((!kubectl.run(&["get", "ct"])?.status.success()).then_some(()));
    wait_for("the end of the resource", Duration::from_secs(30), gone)?;
    server.stop();
    Ok(())
}
