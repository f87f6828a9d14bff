//! The native methods of `org.apache.mesos.v1.scheduler.V1Mesos` and `V0Mesos`.
//!
//! In Mesos `V0Mesos` translates to the messages of a `MesosSchedulerDriver`. Here both are the library of the v1 API; a `V0Mesos`
//! subscribes with the `FrameworkInfo` of its constructor.

use std::sync::Arc;

use jni::{
    Env, EnvUnowned, JValue,
    errors::Error,
    jni_mangle, jni_sig, jni_str,
    objects::{IntoAuto, JObject},
    refs::Weak,
    strings::JNIStr,
};
use libmesos_core::{
    library::{Callback, Library, Request, call_type},
    wire::call,
};

use super::{
    NativeError,
    callbacks::{JavaHandler, JavaObjects},
    java::{self, MessageClass, message_class},
    registry::Registry,
    scheduler_driver::{complete, credential_of},
    seed, throw, void,
};
use crate::{
    driver::{Driver, find_master},
    endpoint_client::Api,
    network::Target,
};

/// All libraries by their number.
static LIBRARIES: Registry<Driver<Library>> = Registry::new();

/// The field with the number.
const NUMBER: &JNIStr = jni_str!("__mesos");

/// The Java side. It is not held, so that one which its framework has dropped is collected and finalized.
struct LibraryObjects {
    library: Weak<JObject<'static>>,
    event: MessageClass,
}

impl JavaObjects for LibraryObjects {
    type Callback = Callback;

    fn call(&self, env: &mut Env<'_>, callback: Callback) -> Result<(), Error> {
        let Some(library) = self.library.upgrade_local(env)? else { return Ok(()) };
        let signature = jni_sig!("Lorg/apache/mesos/v1/scheduler/Scheduler;");
        let scheduler = env.get_field(&library, jni_str!("scheduler"), signature)?.l()?;
        let this = JValue::Object(&library);
        match callback {
            Callback::Connected => {
                let signature = jni_sig!("(Lorg/apache/mesos/v1/scheduler/Mesos;)V");
                env.call_method(&scheduler, jni_str!("connected"), signature, &[this])?;
            }
            Callback::Disconnected => {
                let signature = jni_sig!("(Lorg/apache/mesos/v1/scheduler/Mesos;)V");
                env.call_method(&scheduler, jni_str!("disconnected"), signature, &[this])?;
            }
            Callback::Received { event } => {
                let event = self.event.parse(env, &event)?;
                let signature = jni_sig!(
                    "(Lorg/apache/mesos/v1/scheduler/Mesos;Lorg/apache/mesos/v1/scheduler/Protos$Event;)V"
                );
                let arguments = [this, JValue::Object(&event)];
                env.call_method(&scheduler, jni_str!("received"), signature, &arguments)?;
            }
        }
        Ok(())
    }
}

/// Starts a library for a Java object.
fn start(env: &mut Env<'_>, this: &JObject<'_>, framework: Option<bytes::Bytes>) -> Result<(), NativeError> {
    crate::log::init();
    let master = java::string_field(env, this, jni_str!("master"))?;
    let credential =
        env.get_field(this, jni_str!("credential"), jni_sig!("Lorg/apache/mesos/v1/Protos$Credential;"))?;
    let credential = credential.l()?.auto();
    let credential = java::optional_message(env, &credential)?.and_then(credential_of);
    let master = match find_master(&master) {
        Ok(master) => master,
        // Where Mesos ends the process.
        Err(message) => return Err(throw(env, "java/lang/IllegalArgumentException", &message)),
    };
    let target = Target { master: Some(master), api: Api::scheduler(credential.as_ref()) };
    let objects = LibraryObjects {
        library: env.new_weak_ref(this)?,
        event: message_class!(
            env,
            "org/apache/mesos/v1/scheduler/Protos$Event",
            "([B)Lorg/apache/mesos/v1/scheduler/Protos$Event;"
        ),
    };
    let handler = JavaHandler::new(env, objects)?;
    let driver = Driver::new(Library::new(framework, seed()), move || Ok(target));
    let number = LIBRARIES.add(driver);
    // Before the first callback, which may send a call.
    env.set_field(this, NUMBER, jni_sig!("J"), JValue::Long(number))?;
    if let Some(library) = LIBRARIES.get(number) {
        library.start(handler)?;
    }
    Ok(())
}

fn library(env: &mut Env<'_>, this: &JObject<'_>) -> Result<Arc<Driver<Library>>, NativeError> {
    let number = env.get_field(this, NUMBER, jni_sig!("J"))?.j()?;
    LIBRARIES.get(number).ok_or(NativeError::NoLibrary)
}

fn send(env: EnvUnowned<'_>, this: &JObject<'_>, call: &JObject<'_>) {
    void(env, |env| {
        let library = library(env, this)?;
        let call = java::message(env, call)?;
        let ends = call_type(&call) == call::TEARDOWN;
        library.request(Request::Send(call));
        // The framework may drop the library, or end the JVM, right after this.
        if ends {
            library.wait_until(Library::is_drained);
        }
        Ok(())
    });
}

fn finalize(env: EnvUnowned<'_>, this: &JObject<'_>) {
    void(env, |env| {
        let number = env.get_field(this, NUMBER, jni_sig!("J"))?.j()?;
        env.set_field(this, NUMBER, jni_sig!("J"), JValue::Long(0))?;
        if let Some(library) = LIBRARIES.remove(number) {
            library.abort();
        }
        Ok(())
    });
}

#[jni_mangle("org.apache.mesos.v1.scheduler.V1Mesos", "initialize")]
pub extern "system" fn initialize_v1<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    void(env, |env| start(env, &this, None));
}

#[jni_mangle("org.apache.mesos.v1.scheduler.V1Mesos", "finalize")]
pub extern "system" fn finalize_v1<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    finalize(env, &this);
}

#[jni_mangle("org.apache.mesos.v1.scheduler.V1Mesos", "send")]
pub extern "system" fn send_v1<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    call: JObject<'local>,
) {
    send(env, &this, &call);
}

#[jni_mangle("org.apache.mesos.v1.scheduler.V1Mesos", "reconnect")]
pub extern "system" fn reconnect_v1<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    void(env, |env| {
        library(env, &this)?.request(Request::Reconnect);
        Ok(())
    });
}

#[jni_mangle("org.apache.mesos.v1.scheduler.V0Mesos", "initialize")]
pub extern "system" fn initialize_v0<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    void(env, |env| {
        let signature = jni_sig!("Lorg/apache/mesos/v1/Protos$FrameworkInfo;");
        let framework = env.get_field(&this, jni_str!("framework"), signature)?.l()?.auto();
        let framework = complete(java::message(env, &framework)?);
        start(env, &this, Some(framework))
    });
}

#[jni_mangle("org.apache.mesos.v1.scheduler.V0Mesos", "finalize")]
pub extern "system" fn finalize_v0<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    finalize(env, &this);
}

#[jni_mangle("org.apache.mesos.v1.scheduler.V0Mesos", "send")]
pub extern "system" fn send_v0<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    call: JObject<'local>,
) {
    send(env, &this, &call);
}
