"""A program on the official Python client: CRUD, patch, watch, exec, custom resources, leader election by Lease.

  client.py KUBECONFIG NAMESPACE     prints one line for each part that works; ends with an error otherwise
"""
import sys
import threading
import time

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import stream
from kubernetes.utils import create_from_dict

IMAGE = "localhost/catamaran/example-web:1"


def done(what):
    print(what, flush=True)


def refused(code, call, *arguments, **options):
    """The message of a call that must fail with this code."""
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.status == code, error
        return error.body
    raise AssertionError(f"{call} is not refused")


def objects(core, namespace):
    """Create, read, replace, patch, list by pages, delete, delete many."""
    made = core.create_namespaced_config_map(
        namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one", labels={"a": "b"}), data={"k": "1"}))
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo, made
    assert "already exists" in refused(409, core.create_namespaced_config_map, namespace, {"metadata": {"name": "one"}})
    made.data["k"] = "2"
    replaced = core.replace_namespaced_config_map("one", namespace, made)
    assert replaced.data == {"k": "2"}, replaced
    made.data["k"] = "3"
    assert "object has been modified" in refused(409, core.replace_namespaced_config_map, "one", namespace, made)
    patched = core.patch_namespaced_config_map("one", namespace, {"data": {"l": "4"}}, field_manager="python")
    assert patched.data == {"k": "2", "l": "4"}, patched
    patched = core.patch_namespaced_config_map(
        "one", namespace, [{"op": "remove", "path": "/data/l"}], _content_type="application/json-patch+json")
    assert patched.data == {"k": "2"}, patched
    dry = core.patch_namespaced_config_map("one", namespace, {"data": {"k": "9"}}, dry_run="All")
    assert dry.data["k"] == "9" and core.read_namespaced_config_map("one", namespace).data["k"] == "2"
    for i in range(5):
        core.create_namespaced_config_map(
            namespace, {"metadata": {"generateName": "many-", "labels": {"many": "yes"}}, "data": {"i": str(i)}})
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(namespace, label_selector="many=yes", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert len(set(names)) == 5, names
    core.delete_collection_namespaced_config_map(namespace, label_selector="many=yes")
    assert not core.list_namespaced_config_map(namespace, label_selector="many=yes").items
    core.delete_namespaced_config_map("one", namespace)
    assert "not found" in refused(404, core.read_namespaced_config_map, "one", namespace)
    done("objects")


def kinds(api, namespace):
    """Typed objects of many groups, as the client's models encode and decode them."""
    manifests = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": IMAGE}]}}}},
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": {
            "schedule": "1 2 * * *", "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": IMAGE}]}}}}}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80, "targetPort": "http"}]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {
            "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}},
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
            "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}},
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": {"maxUnavailable": "50%"}},
    ]
    for manifest in manifests:
        create_from_dict(api, manifest, namespace=namespace)
    apps = client.AppsV1Api(api)
    scale = apps.read_namespaced_deployment_scale("web", namespace)
    scale.spec.replicas = 1
    assert apps.replace_namespaced_deployment_scale("web", namespace, scale).spec.replicas == 1
    web = apps.read_namespaced_deployment("web", namespace)
    assert web.spec.replicas == 1 and web.spec.strategy.rolling_update.max_surge == "25%", web.spec
    service = client.CoreV1Api(api).read_namespaced_service("web", namespace)
    assert service.spec.ports[0].target_port == "http" and service.spec.cluster_ip, service.spec
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")
    nodes = client.CoreV1Api(api).list_node().items
    assert nodes and all(node.status.conditions[0].last_heartbeat_time for node in nodes)
    for group in client.ApisApi(api).get_api_versions().groups:
        assert group.preferred_version.group_version
    version = client.VersionApi(api).get_code()
    assert (version.major, version.minor) == ("1", "36"), version
    done("kinds")


def watches(core, namespace):
    """A list, then a watch from its version, with events of changes by somebody else; then a watch that has expired."""
    version = core.list_namespaced_secret(namespace).metadata.resource_version

    def change():
        core.create_namespaced_secret(namespace, {"metadata": {"name": "seen"}, "stringData": {"a": "b"}})
        core.patch_namespaced_secret("seen", namespace, {"metadata": {"labels": {"c": "d"}}})
        core.delete_namespaced_secret("seen", namespace)

    writer = threading.Thread(target=change)
    writer.start()
    kinds = []
    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespaced_secret, namespace, resource_version=version, timeout_seconds=30):
        assert event["object"].kind == "Secret" and event["object"].data == {"a": "Yg=="}, event
        kinds.append(event["type"])
        if len(kinds) == 3:
            watcher.stop()
    writer.join()
    assert kinds == ["ADDED", "MODIFIED", "DELETED"], kinds
    started = time.monotonic()
    assert not list(watch.Watch().stream(core.list_namespaced_secret, namespace, timeout_seconds=1))
    assert time.monotonic() - started < 10
    done("watches")


def pods(core, namespace):
    """A Pod: logs, followed logs, exec with input and its exit code, and the end of the Pod."""
    core.create_namespaced_pod(namespace, {
        "metadata": {"name": "pod"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": IMAGE, "command": ["sh", "-c", "echo one; echo two; exec sleep 600"]}]}})
    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespaced_pod, namespace, field_selector="metadata.name=pod", timeout_seconds=60):
        if event["object"].status.phase == "Running":
            watcher.stop()
    for _ in range(50):
        if core.read_namespaced_pod_log("pod", namespace) == "one\ntwo\n":
            break
        time.sleep(0.1)
    assert core.read_namespaced_pod_log("pod", namespace, tail_lines=1) == "two\n"
    follower = watch.Watch()
    lines = []
    for line in follower.stream(core.read_namespaced_pod_log, "pod", namespace):
        lines.append(line)
        if len(lines) == 2:
            follower.stop()
    assert lines == ["one", "two"], lines
    call = core.connect_get_namespaced_pod_exec
    assert stream(call, "pod", namespace, command=["echo", "hello"], stdout=True, stderr=True) == "hello\n"
    shell = stream(call, "pod", namespace, command=["sh", "-c", "read x; echo got $x; echo bad >&2; exit 7"],
                   stdin=True, stdout=True, stderr=True, _preload_content=False)
    shell.write_stdin("input\n")
    shell.run_forever(timeout=20)
    assert (shell.read_stdout(), shell.read_stderr(), shell.returncode) == ("got input\n", "bad\n", 7)
    core.delete_namespaced_pod("pod", namespace)
    done("pods")


def custom(api, namespace):
    """A definition, and its objects by the untyped and by the dynamic client, with server-side apply."""
    schema = {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}},
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}}
    definitions = client.ApiextensionsV1Api(api)
    definitions.create_custom_resource_definition({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.python.example.com"},
        "spec": {"group": "python.example.com", "scope": "Namespaced",
                 "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
                 "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                               "schema": {"openAPIV3Schema": schema}}]}})
    for _ in range(100):
        status = definitions.read_custom_resource_definition("gadgets.python.example.com").status
        if any(c.type == "Established" and c.status == "True" for c in status.conditions or []):
            break
        time.sleep(0.1)
    untyped = client.CustomObjectsApi(api)
    where = ("python.example.com", "v1", namespace, "gadgets")
    body = {"apiVersion": "python.example.com/v1", "kind": "Gadget", "metadata": {"name": "one"}, "spec": {"size": 1}}
    untyped.create_namespaced_custom_object(*where, body)
    assert "spec.size in body should be greater than or equal to 1" in refused(
        422, untyped.patch_namespaced_custom_object, *where, "one", {"spec": {"size": 0}})
    untyped.patch_namespaced_custom_object_status(*where, "one", {"status": {"ready": True}})
    gadgets = dynamic.DynamicClient(api).resources.get(api_version="python.example.com/v1", kind="Gadget")
    one = gadgets.get(name="one", namespace=namespace)
    assert one.status.ready is True and one.spec.size == 1, one
    body["spec"]["size"] = 5
    assert gadgets.server_side_apply(body, namespace=namespace, field_manager="python", force_conflicts=True).spec.size == 5
    events = gadgets.watch(namespace=namespace, timeout=5)
    first = next(iter(events))
    assert (first["type"], first["object"].metadata.name) == ("ADDED", "one"), first
    gadgets.delete(name="one", namespace=namespace)
    definitions.delete_custom_resource_definition("gadgets.python.example.com")
    done("custom")


def elections(namespace):
    """Two candidates for one Lease: the second leads when the first has stopped."""
    leads = []
    stop = threading.Event()

    def candidate(name, seconds):
        def lead():
            leads.append(name)
            if seconds is None:
                stop.set()

        lock = LeaseLock("leader", namespace, name)
        settings = electionconfig.Config(lock, lease_duration=4, renew_deadline=3, retry_period=1,
                                         onstarted_leading=lead, onstopped_leading=lambda: None)
        return threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True)

    first = candidate("first", None)
    first.start()
    assert stop.wait(20) and leads == ["first"], leads
    lease = client.CoordinationV1Api().read_namespaced_lease("leader", namespace)
    assert lease.spec.holder_identity == "first" and lease.spec.lease_duration_seconds == 4, lease
    # Somebody else takes the Lease by the version that it has read; the holder's next renewal conflicts.
    lease.spec.holder_identity = "second"
    for _ in range(20):
        try:
            client.CoordinationV1Api().replace_namespaced_lease("leader", namespace, lease)
            break
        except ApiException as error:
            assert error.status == 409, error
            lease = client.CoordinationV1Api().read_namespaced_lease("leader", namespace)
            lease.spec.holder_identity = "second"
    assert client.CoordinationV1Api().read_namespaced_lease("leader", namespace).spec.holder_identity == "second"
    done("elections")


def main(kubeconfig, namespace):
    config.load_kube_config(kubeconfig)
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": namespace}})
    objects(core, namespace)
    kinds(api, namespace)
    watches(core, namespace)
    custom(api, namespace)
    pods(client.CoreV1Api(), namespace)
    elections(namespace)
    core.delete_namespace(namespace)


if __name__ == "__main__":
    main(*sys.argv[1:])
