// A program on the official JavaScript client: CRUD, patch, informer, watch, exec, logs, custom resources, apply, leadership by Lease.
//
//   node client.mjs KUBECONFIG NAMESPACE    prints one line for each part that works; ends with an error otherwise
//
// NODE_PATH does not hold for modules, so CLIENT names the package's folder.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

// Node.js 18 cannot `require` modules, and the package is one.
const path = createRequire(process.env.CLIENT + "/").resolve("@kubernetes/client-node");
const k8s = await import(pathToFileURL(path));
const [kubeconfig, namespace] = process.argv.slice(2);
const image = "localhost/catamaran/example-web:1";
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);

/** Waits until the condition returns something. */
async function until(what, condition) {
  for (let i = 0; i < 600; i++) {
    const result = await condition();
    if (result) return result;
    await sleep(100);
  }
  throw new Error(`waited for ${what}`);
}

/** The Status of a call that must fail with this code. */
async function refused(code, call) {
  try {
    await call;
  } catch (error) {
    assert.equal(error.code, code, String(error));
    return typeof error.body === "string" ? JSON.parse(error.body) : error.body;
  }
  throw new Error("the call is not refused");
}

async function objects() {
  const body = { metadata: { name: "one", labels: { a: "b" } }, data: { k: "1" } };
  const made = await core.createNamespacedConfigMap({ namespace, body });
  assert.ok(made.metadata.creationTimestamp instanceof Date);
  assert.equal((await refused(409, core.createNamespacedConfigMap({ namespace, body }))).reason, "AlreadyExists");
  made.data.k = "2";
  const replaced = await core.replaceNamespacedConfigMap({ namespace, name: "one", body: made });
  assert.equal(replaced.data.k, "2");
  assert.equal((await refused(409, core.replaceNamespacedConfigMap({ namespace, name: "one", body: made }))).reason, "Conflict");
  const json = [{ op: "add", path: "/data/l", value: "3" }];
  const patched = await core.patchNamespacedConfigMap({ namespace, name: "one", body: json });
  assert.deepEqual(patched.data, { k: "2", l: "3" });
  const merge = k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.MergePatch);
  const merged = await core.patchNamespacedConfigMap({ namespace, name: "one", body: { data: { l: null } } }, merge);
  assert.deepEqual(merged.data, { k: "2" });
  const apply = k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.ServerSideApply);
  const wanted = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "one" }, data: { k: "9" } };
  const conflict = await refused(409, core.patchNamespacedConfigMap({ namespace, name: "one", body: wanted, fieldManager: "node" }, apply));
  assert.equal(conflict.details.causes[0].reason, "FieldManagerConflict");
  const applied = await core.patchNamespacedConfigMap({ namespace, name: "one", body: wanted, fieldManager: "node", force: true }, apply);
  assert.equal(applied.data.k, "9");
  for (let i = 0; i < 5; i++) {
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { generateName: "many-", labels: { many: "yes" } } } });
  }
  const names = new Set();
  let _continue;
  do {
    const page = await core.listNamespacedConfigMap({ namespace, labelSelector: "many=yes", limit: 2, _continue });
    page.items.forEach((item) => names.add(item.metadata.name));
    _continue = page.metadata._continue;
  } while (_continue);
  assert.equal(names.size, 5);
  await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: "many=yes" });
  await core.deleteNamespacedConfigMap({ namespace, name: "one" });
  await refused(404, core.readNamespacedConfigMap({ namespace, name: "one" }));
  // The untyped interface, which asks discovery for the path of each kind.
  const objectsApi = k8s.KubernetesObjectApi.makeApiClient(config);
  const job = { apiVersion: "batch/v1", kind: "Job", metadata: { name: "j", namespace }, spec: { suspend: true, template: { spec: {
    restartPolicy: "Never", containers: [{ name: "c", image }] } } } };
  await objectsApi.create(job);
  assert.equal((await objectsApi.read(job)).spec.backoffLimit, 6);
  await objectsApi.delete(job);
  console.log("objects");
}

async function informers() {
  const seen = [];
  const list = () => core.listNamespacedSecret({ namespace });
  const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/secrets`, list);
  for (const verb of ["add", "update", "delete"]) {
    informer.on(verb, (secret) => seen.push(`${verb} ${secret.metadata.name} ${Object.keys(secret.metadata.labels ?? {})}`));
  }
  await core.createNamespacedSecret({ namespace, body: { metadata: { name: "before" } } });
  await informer.start();
  await core.createNamespacedSecret({ namespace, body: { metadata: { name: "after" } } });
  await core.patchNamespacedSecret({ namespace, name: "after", body: [{ op: "add", path: "/metadata/labels", value: { a: "b" } }] });
  await core.deleteNamespacedSecret({ namespace, name: "before" });
  const expected = ["add before ", "add after ", "update after a", "delete before "];
  await until("the informer", () => seen.length >= expected.length);
  assert.deepEqual(seen, expected);
  await informer.stop();
  const bookmarks = new k8s.Watch(config);
  const version = (await list()).metadata.resourceVersion;
  const kinds = [];
  const request = await bookmarks.watch(`/api/v1/namespaces/${namespace}/secrets`, { resourceVersion: version }, (kind) => kinds.push(kind), () => {});
  await core.deleteNamespacedSecret({ namespace, name: "after" });
  await until("the watch", () => kinds.includes("DELETED"));
  request.abort();
  console.log("informers");
}

async function pods() {
  const command = ["sh", "-c", "echo one; echo two; exec sleep 600"];
  const spec = { terminationGracePeriodSeconds: 0, containers: [{ name: "c", image, command }] };
  await core.createNamespacedPod({ namespace, body: { metadata: { name: "pod" }, spec } });
  await until("the pod", async () => (await core.readNamespacedPodStatus({ namespace, name: "pod" })).status.phase === "Running");
  await until("the log", async () => (await core.readNamespacedPodLog({ namespace, name: "pod" })) === "one\ntwo\n");
  const followed = new PassThrough();
  let text = "";
  followed.on("data", (chunk) => (text += chunk));
  const following = await new k8s.Log(config).log(namespace, "pod", "c", followed, { follow: true });
  await until("the followed log", () => text === "one\ntwo\n");
  following.abort();
  const [input, output, errors] = [new PassThrough(), new PassThrough(), new PassThrough()];
  let [said, complained] = ["", ""];
  output.on("data", (chunk) => (said += chunk));
  errors.on("data", (chunk) => (complained += chunk));
  const script = "read x; echo got $x; echo bad >&2; exit 7";
  const ended = new Promise((resolve, reject) => {
    new k8s.Exec(config).exec(namespace, "pod", "c", ["sh", "-c", script], output, errors, input, false, resolve).catch(reject);
  });
  input.write("input\n");
  const status = await ended;
  assert.equal(status.status, "Failure");
  assert.equal(status.details.causes.find((cause) => cause.reason === "ExitCode").message, "7");
  assert.deepEqual([said, complained], ["got input\n", "bad\n"]);
  await core.deleteNamespacedPod({ namespace, name: "pod" });
  console.log("pods");
}

async function custom() {
  const definitions = config.makeApiClient(k8s.ApiextensionsV1Api);
  const schema = { type: "object", properties: { spec: { type: "object", properties: { size: { type: "integer", maximum: 9 } } } } };
  const name = "gizmos.node.example.com";
  await definitions.createCustomResourceDefinition({ body: {
    metadata: { name },
    spec: {
      group: "node.example.com", scope: "Namespaced", names: { plural: "gizmos", singular: "gizmo", kind: "Gizmo" },
      versions: [{ name: "v1", served: true, storage: true, subresources: { scale: { specReplicasPath: ".spec.size", statusReplicasPath: ".status.size" } },
        schema: { openAPIV3Schema: schema } }],
    },
  } });
  await until("the definition", async () => {
    const definition = await definitions.readCustomResourceDefinition({ name });
    return definition.status?.conditions?.some((condition) => condition.type === "Established" && condition.status === "True");
  });
  const objects = config.makeApiClient(k8s.CustomObjectsApi);
  const where = { group: "node.example.com", version: "v1", namespace, plural: "gizmos" };
  await objects.createNamespacedCustomObject({ ...where, body: { apiVersion: "node.example.com/v1", kind: "Gizmo", metadata: { name: "one" }, spec: { size: 3 } } });
  const scale = await objects.getNamespacedCustomObjectScale({ ...where, name: "one" });
  assert.equal(scale.spec.replicas, 3);
  const body = [{ op: "replace", path: "/spec/size", value: 10 }];
  const status = await refused(422, objects.patchNamespacedCustomObject({ ...where, name: "one", body }));
  assert.match(status.message, /spec.size in body should be less than or equal to 9/);
  await objects.deleteNamespacedCustomObject({ ...where, name: "one" });
  await definitions.deleteCustomResourceDefinition({ name });
  console.log("custom");
}

/** Two candidates write one Lease, each with the version that it has read: one of two at a time wins. */
async function elections() {
  const coordination = config.makeApiClient(k8s.CoordinationV1Api);
  const spec = { holderIdentity: "", leaseDurationSeconds: 5, renewTime: new k8s.V1MicroTime() };
  await coordination.createNamespacedLease({ namespace, body: { metadata: { name: "leader" }, spec } });
  let conflicts = 0;
  for (let round = 0; round < 5; round++) {
    const lease = await coordination.readNamespacedLease({ namespace, name: "leader" });
    const take = (who) => {
      const body = { ...lease, spec: { ...lease.spec, holderIdentity: `${who}-${round}`, renewTime: new k8s.V1MicroTime() } };
      return coordination.replaceNamespacedLease({ namespace, name: "leader", body });
    };
    const outcomes = await Promise.allSettled([take("first"), take("second")]);
    const [won, lost] = ["fulfilled", "rejected"].map((state) => outcomes.filter((outcome) => outcome.status === state));
    assert.equal(won.length, 1);
    assert.equal(lost[0].reason.code, 409);
    conflicts += 1;
  }
  assert.equal(conflicts, 5);
  console.log("elections");
}

await core.createNamespace({ body: { metadata: { name: namespace } } });
await objects();
await informers();
await custom();
await pods();
await elections();
await core.deleteNamespace({ name: namespace });
// The client keeps connections open.
process.exit(0);
