//! The native methods of `org.apache.mesos.MesosSchedulerDriver`, and the version of the library.

use std::sync::Arc;

use bytes::Bytes;
use jni::{
    Env, EnvUnowned, JValue, jni_mangle, jni_sig, jni_str,
    objects::{IntoAuto, JByteArray, JClass, JObject},
    sys::jboolean,
};
use libmesos_core::{
    scheduler::{self, Config, Request},
    wire,
};
use prost::Message;

use super::{
    Drivers, NativeDriver, NativeError, Throw,
    callbacks::{JavaHandler, Objects},
    finalize_driver,
    java::{self, StatusClass},
    scheduler_callbacks::SchedulerClasses,
    seed, set_long, status_of, throw, void,
};
use crate::{
    driver::{Driver, find_master},
    endpoint_client::{Api, Credential},
    network::Target,
};

/// All native drivers of schedulers.
static DRIVERS: Drivers<scheduler::Driver> = Drivers::new();

/// The version of Mesos whose driver this library replaces.
const MESOS_VERSION: [i64; 3] = [1, 11, 0];

#[jni_mangle("org.apache.mesos.MesosNativeLibrary", "_version")]
pub extern "system" fn version<'local>(
    mut env: EnvUnowned<'local>,
    _class: JClass<'local>,
) -> JObject<'local> {
    env.with_env(|env| -> Result<JObject<'local>, NativeError> {
        let version = MESOS_VERSION.map(JValue::Long);
        let class = jni_str!("org/apache/mesos/MesosNativeLibrary$Version");
        Ok(env.new_object(class, jni_sig!("(JJJ)V"), &version)?)
    })
    .resolve::<Throw>()
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "initialize")]
pub extern "system" fn initialize<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    void(env, |env| {
        crate::log::init();
        let native = NativeDriver {
            driver: driver(env, &this)?,
            status: StatusClass::find(env)?,
            classes: Arc::new(SchedulerClasses::find(env)?),
        };
        set_long(env, &this, DRIVERS.add(native))
    });
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "finalize")]
pub extern "system" fn finalize<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    finalize_driver(env, &this, &DRIVERS);
}

/// A driver with what the fields of a Java driver say.
fn driver(env: &mut Env<'_>, this: &JObject<'_>) -> Result<Driver<scheduler::Driver>, NativeError> {
    let master = java::string_field(env, this, jni_str!("master"))?;
    let framework =
        env.get_field(this, jni_str!("framework"), jni_sig!("Lorg/apache/mesos/Protos$FrameworkInfo;"))?;
    let framework = framework.l()?.auto();
    let framework = complete(java::message(env, &framework)?);
    let credential =
        env.get_field(this, jni_str!("credential"), jni_sig!("Lorg/apache/mesos/Protos$Credential;"))?;
    let credential = credential.l()?.auto();
    let credential = java::optional_message(env, &credential)?.and_then(credential_of);
    let suppressed_roles = suppressed_roles(env, this)?;
    let implicit_acknowledgements = implicit_acknowledgements(env, this)?;
    let config = Config { framework, suppressed_roles, implicit_acknowledgements, seed: seed() };
    Ok(Driver::new(scheduler::Driver::new(config), move || {
        Ok(Target { master: Some(find_master(&master)?), api: Api::scheduler(credential.as_ref()) })
    }))
}

fn implicit_acknowledgements(env: &mut Env<'_>, this: &JObject<'_>) -> Result<bool, NativeError> {
    Ok(env.get_field(this, jni_str!("implicitAcknowledgements"), jni_sig!("Z"))?.z()?)
}

/// The field `suppressedRoles`, which jars have from 1.9 on.
fn suppressed_roles(env: &mut Env<'_>, this: &JObject<'_>) -> Result<Vec<String>, NativeError> {
    match env.get_field(this, jni_str!("suppressedRoles"), jni_sig!("Ljava/util/Collection;")) {
        Ok(roles) => {
            let roles = roles.l()?.auto();
            if roles.is_null() { Ok(Vec::new()) } else { Ok(java::strings(env, &roles)?) }
        }
        Err(_) => {
            env.exception_clear();
            Ok(Vec::new())
        }
    }
}

/// `Protos.Credential`.
#[derive(Clone, PartialEq, Message)]
struct CredentialMessage {
    #[prost(string, required, tag = "1")]
    principal: String,
    #[prost(string, optional, tag = "2")]
    secret: Option<String>,
}

pub(super) fn credential_of(bytes: Bytes) -> Option<Credential> {
    let message = CredentialMessage::decode(bytes).ok()?;
    Some(Credential { principal: message.principal, secret: message.secret.unwrap_or_default() })
}

/// Adds user and host name to a FrameworkInfo without them, as the Java library's driver does.
pub(super) fn complete(framework: Bytes) -> Bytes {
    let known = wire::FrameworkInfo::decode(framework.clone()).unwrap_or_default();
    let is_set = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    let mut defaults = wire::FrameworkDefaults::default();
    if !is_set(&known.user) {
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten();
        defaults.user = user.map(|user| user.name);
    }
    if !is_set(&known.hostname) {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        defaults.hostname = Some(name);
    }
    let mut encoded = framework.to_vec();
    encoded.extend(defaults.encode_to_vec());
    encoded.into()
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "start")]
pub extern "system" fn start<'local>(env: EnvUnowned<'local>, this: JObject<'local>) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |env, native| {
        let scheduler =
            env.get_field(&this, jni_str!("scheduler"), jni_sig!("Lorg/apache/mesos/Scheduler;"))?;
        let scheduler = scheduler.l()?.auto();
        let objects = Objects::new(env, &this, &scheduler, native.classes.clone())?;
        Ok(native.driver.start(JavaHandler::new(env, objects)?)?)
    })
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "stop")]
pub extern "system" fn stop<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    failover: jboolean,
) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |_, native| Ok(native.driver.stop(failover)))
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "abort")]
pub extern "system" fn abort<'local>(env: EnvUnowned<'local>, this: JObject<'local>) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |_, native| Ok(native.driver.abort()))
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "join")]
pub extern "system" fn join<'local>(env: EnvUnowned<'local>, this: JObject<'local>) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |_, native| Ok(native.driver.join()))
}

/// Runs a method that leads to a call.
fn request<'local>(
    env: EnvUnowned<'local>,
    this: &JObject<'local>,
    read: impl FnOnce(&mut Env<'local>) -> jni::errors::Result<Request>,
) -> JObject<'local> {
    status_of(env, this, &DRIVERS, |env, native| {
        let request = read(env)?;
        Ok(native.driver.request(request))
    })
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "requestResources")]
pub extern "system" fn request_resources<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    requests: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |env| Ok(Request::Resources(java::messages(env, &requests)?)))
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "reconcileTasks")]
pub extern "system" fn reconcile_tasks<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    statuses: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |env| Ok(Request::Reconcile { statuses: java::messages(env, &statuses)? }))
}

#[jni_mangle(
    "org.apache.mesos.MesosSchedulerDriver",
    "launchTasks",
    "(Lorg/apache/mesos/Protos$OfferID;Ljava/util/Collection;Lorg/apache/mesos/Protos$Filters;)Lorg/apache/mesos/Protos$Status;"
)]
pub extern "system" fn launch_tasks_on_offer<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    offer: JObject<'local>,
    tasks: JObject<'local>,
    filters: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |env| {
        let offers = vec![java::message(env, &offer)?];
        let tasks = java::messages(env, &tasks)?;
        Ok(Request::launch(offers, tasks, java::optional_message(env, &filters)?))
    })
}

#[jni_mangle(
    "org.apache.mesos.MesosSchedulerDriver",
    "launchTasks",
    "(Ljava/util/Collection;Ljava/util/Collection;Lorg/apache/mesos/Protos$Filters;)Lorg/apache/mesos/Protos$Status;"
)]
pub extern "system" fn launch_tasks<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    offers: JObject<'local>,
    tasks: JObject<'local>,
    filters: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |env| {
        let offers = java::messages(env, &offers)?;
        let tasks = java::messages(env, &tasks)?;
        Ok(Request::launch(offers, tasks, java::optional_message(env, &filters)?))
    })
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "acceptOffers")]
pub extern "system" fn accept_offers<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    offers: JObject<'local>,
    operations: JObject<'local>,
    filters: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |env| {
        let offers = java::messages(env, &offers)?;
        let operations = java::messages(env, &operations)?;
        Ok(Request::Accept { offers, operations, filters: java::optional_message(env, &filters)? })
    })
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "declineOffer")]
pub extern "system" fn decline_offer<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    offer: JObject<'local>,
    filters: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |env| {
        let offer = java::message(env, &offer)?;
        Ok(Request::Decline { offer, filters: java::optional_message(env, &filters)? })
    })
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "killTask")]
pub extern "system" fn kill_task<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    task: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |env| Ok(Request::Kill { task: java::message(env, &task)? }))
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "reviveOffers", "()Lorg/apache/mesos/Protos$Status;")]
pub extern "system" fn revive_offers<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |_| Ok(Request::Revive(None)))
}

#[jni_mangle(
    "org.apache.mesos.MesosSchedulerDriver",
    "reviveOffers",
    "(Ljava/util/Collection;)Lorg/apache/mesos/Protos$Status;"
)]
pub extern "system" fn revive_offers_of_roles<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    roles: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |env| Ok(Request::Revive(some_roles(java::strings(env, &roles)?))))
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "suppressOffers", "()Lorg/apache/mesos/Protos$Status;")]
pub extern "system" fn suppress_offers<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |_| Ok(Request::Suppress(None)))
}

#[jni_mangle(
    "org.apache.mesos.MesosSchedulerDriver",
    "suppressOffers",
    "(Ljava/util/Collection;)Lorg/apache/mesos/Protos$Status;"
)]
pub extern "system" fn suppress_offers_of_roles<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    roles: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |env| Ok(Request::Suppress(some_roles(java::strings(env, &roles)?))))
}

/// No role means all, as on the wire.
fn some_roles(roles: Vec<String>) -> Option<Vec<String>> {
    (!roles.is_empty()).then_some(roles)
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "acknowledgeStatusUpdate")]
pub extern "system" fn acknowledge_status_update<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    status: JObject<'local>,
) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |env, native| {
        if implicit_acknowledgements(env, &this)? {
            let message = "Cannot call acknowledgeStatusUpdate: Implicit acknowledgements are enabled";
            return Err(throw(env, "java/lang/IllegalStateException", message));
        }
        let status = java::message(env, &status)?;
        Ok(native.driver.request(Request::Acknowledge { status }))
    })
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "sendFrameworkMessage")]
pub extern "system" fn send_framework_message<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    executor: JObject<'local>,
    agent: JObject<'local>,
    data: JByteArray<'local>,
) -> JObject<'local> {
    request(env, &this, |env| {
        let executor = java::message(env, &executor)?;
        let agent = java::message(env, &agent)?;
        Ok(Request::Message { executor, agent, data: env.convert_byte_array(&data)?.into() })
    })
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "updateFramework")]
pub extern "system" fn update_framework<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    framework: JObject<'local>,
    suppressed_roles: JObject<'local>,
) -> JObject<'local> {
    update_framework_with_constraints(env, this, framework, suppressed_roles, JObject::null())
}

#[jni_mangle("org.apache.mesos.MesosSchedulerDriver", "updateFrameworkWithConstraints")]
pub extern "system" fn update_framework_with_constraints<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    framework: JObject<'local>,
    suppressed_roles: JObject<'local>,
    constraints: JObject<'local>,
) -> JObject<'local> {
    request(env, &this, |env| {
        let framework = complete(java::message(env, &framework)?);
        let suppressed_roles = java::strings(env, &suppressed_roles)?;
        let constraints = java::optional_message(env, &constraints)?;
        Ok(Request::UpdateFramework { framework, suppressed_roles, constraints })
    })
}
