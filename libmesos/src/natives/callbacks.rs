//! Callbacks into Java, on a thread that is attached as a daemon: it does not keep the JVM from ending.

use std::{ffi::c_void, ptr, sync::Arc};

use bytes::Bytes;
use jni::{
    Env, EnvUnowned, JValue, JavaVM, Outcome,
    errors::Error,
    jni_sig, jni_str,
    objects::{IntoAuto, JObject, JString},
    refs::Global,
    sys,
};
use libmesos_core::scheduler::Callback;

use super::java::{Classes, MessageClass};
use crate::driver::Handler;

/// Local references that one callback needs; offers are released one by one.
const LOCAL_FRAME: usize = 16;

/// The framework's `Scheduler`.
pub(super) struct JavaScheduler {
    vm: JavaVM,
    /// The Java objects; `None` once the last callback has returned.
    objects: Option<Objects>,
    /// Whether a callback has attached its thread.
    attached: bool,
}

struct Objects {
    /// Held as long as callbacks may come, so that a running driver is not collected.
    driver: Global<JObject<'static>>,
    scheduler: Global<JObject<'static>>,
    classes: Arc<Classes>,
}

impl JavaScheduler {
    pub(super) fn new(
        env: &mut Env<'_>,
        driver: &JObject<'_>,
        scheduler: &JObject<'_>,
        classes: Arc<Classes>,
    ) -> jni::errors::Result<Self> {
        let driver = env.new_global_ref(driver)?;
        let scheduler = env.new_global_ref(scheduler)?;
        let objects = Some(Objects { driver, scheduler, classes });
        Ok(JavaScheduler { vm: env.get_java_vm()?, objects, attached: false })
    }
}

impl Handler for JavaScheduler {
    fn call(&mut self, callback: Callback) -> Result<(), String> {
        let Some(objects) = &self.objects else { return Ok(()) };
        self.attached = true;
        with_daemon(&self.vm, |env| {
            env.with_local_frame(LOCAL_FRAME, |env| match objects.call(env, callback) {
                Ok(()) => Ok(Ok(())),
                Err(error) => Ok(Err(describe(env, error))),
            })
        })
        .unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl Drop for JavaScheduler {
    /// Runs on the callback thread when it ends, or on a thread of Java's own if the driver was started before.
    fn drop(&mut self) {
        if !self.attached {
            return;
        }
        let objects = self.objects.take();
        let released = with_daemon(&self.vm, |_| {
            drop(objects);
            Ok(())
        });
        if released.is_ok() {
            let vm = self.vm.get_raw();
            // SAFETY: the pointer is the JVM's; a callback has attached this thread, which has no frame of Java below this one.
            unsafe { ((**vm).v1_1.DetachCurrentThread)(vm) };
        }
    }
}

/// Runs a function with the environment of this thread, which is attached as a daemon if it is not attached.
fn with_daemon<T>(vm: &JavaVM, run: impl FnOnce(&mut Env<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let raw = vm.get_raw();
    let mut name = *b"mesos-callbacks\0";
    let mut arguments = sys::JavaVMAttachArgs {
        version: sys::JNI_VERSION_1_8,
        name: name.as_mut_ptr().cast(),
        group: ptr::null_mut(),
    };
    let mut env: *mut c_void = ptr::null_mut();
    // SAFETY: the JVM has loaded this library and lives as long as its threads; the arguments outlive the call.
    let code = unsafe {
        ((**raw).v1_4.AttachCurrentThreadAsDaemon)(raw, &mut env, ptr::from_mut(&mut arguments).cast())
    };
    if code != sys::JNI_OK || env.is_null() {
        return Err(Error::JniCall(jni::errors::JniError::Other(code)));
    }
    // SAFETY: the pointer is that of this thread's attachment, which only the end of the thread undoes.
    let mut unowned = unsafe { EnvUnowned::from_raw(env.cast()) };
    match unowned.with_env_no_catch(run).into_outcome() {
        Outcome::Ok(value) => Ok(value),
        Outcome::Err(error) => Err(error),
        Outcome::Panic(panic) => std::panic::resume_unwind(panic),
    }
}

/// Prints and clears a pending exception, and returns its text.
fn describe(env: &mut Env<'_>, error: Error) -> String {
    if !env.exception_check() {
        return error.to_string();
    }
    // As the Java library does: the stack trace on the standard error output.
    let thrown = env.exception_occurred();
    env.exception_describe();
    env.exception_clear();
    let text = thrown.and_then(|thrown| {
        let thrown = thrown.auto();
        let text = env.call_method(&*thrown, jni_str!("toString"), jni_sig!("()Ljava/lang/String;"), &[]);
        let text = JString::cast_local(env, text.ok()?.l().ok()?).ok()?;
        text.try_to_string(env).ok()
    });
    // toString() may throw, too.
    env.exception_clear();
    text.unwrap_or_else(|| error.to_string())
}

impl Objects {
    fn call(&self, env: &mut Env<'_>, callback: Callback) -> Result<(), Error> {
        let classes = &*self.classes;
        match callback {
            Callback::Registered { framework_id, master } => {
                let framework_id = classes.framework_id.parse(env, &framework_id)?;
                let master = classes.master_info.parse(env, &master)?;
                let signature = jni_sig!(
                    "(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$FrameworkID;Lorg/apache/mesos/Protos$MasterInfo;)V"
                );
                let arguments = [self.this(), JValue::Object(&framework_id), JValue::Object(&master)];
                env.call_method(&self.scheduler, jni_str!("registered"), signature, &arguments)?;
            }
            Callback::Reregistered { master } => {
                let master = classes.master_info.parse(env, &master)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$MasterInfo;)V");
                let arguments = [self.this(), JValue::Object(&master)];
                env.call_method(&self.scheduler, jni_str!("reregistered"), signature, &arguments)?;
            }
            Callback::Disconnected => {
                let signature = jni_sig!("(Lorg/apache/mesos/SchedulerDriver;)V");
                env.call_method(&self.scheduler, jni_str!("disconnected"), signature, &[self.this()])?;
            }
            Callback::ResourceOffers { offers } => {
                let offers = list(env, &classes.offer, &offers)?;
                let signature = jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Ljava/util/List;)V");
                let arguments = [self.this(), JValue::Object(&offers)];
                env.call_method(&self.scheduler, jni_str!("resourceOffers"), signature, &arguments)?;
            }
            Callback::OfferRescinded { offer } => {
                let offer = classes.offer_id.parse(env, &offer)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$OfferID;)V");
                let arguments = [self.this(), JValue::Object(&offer)];
                env.call_method(&self.scheduler, jni_str!("offerRescinded"), signature, &arguments)?;
            }
            Callback::StatusUpdate { status } => {
                let status = classes.task_status.parse(env, &status)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$TaskStatus;)V");
                let arguments = [self.this(), JValue::Object(&status)];
                env.call_method(&self.scheduler, jni_str!("statusUpdate"), signature, &arguments)?;
            }
            other => self.call_of_loss(env, other)?,
        }
        Ok(())
    }

    /// Messages, losses and errors.
    fn call_of_loss(&self, env: &mut Env<'_>, callback: Callback) -> Result<(), Error> {
        let classes = &*self.classes;
        match callback {
            Callback::FrameworkMessage { executor, agent, data } => {
                let executor = classes.executor_id.parse(env, &executor)?;
                let agent = classes.agent_id.parse(env, &agent)?;
                let data = env.byte_array_from_slice(&data)?;
                let signature = jni_sig!(
                    "(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$ExecutorID;Lorg/apache/mesos/Protos$SlaveID;[B)V"
                );
                let arguments =
                    [self.this(), JValue::Object(&executor), JValue::Object(&agent), JValue::Object(&data)];
                env.call_method(&self.scheduler, jni_str!("frameworkMessage"), signature, &arguments)?;
            }
            Callback::AgentLost { agent } => {
                let agent = classes.agent_id.parse(env, &agent)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$SlaveID;)V");
                let arguments = [self.this(), JValue::Object(&agent)];
                env.call_method(&self.scheduler, jni_str!("slaveLost"), signature, &arguments)?;
            }
            Callback::ExecutorLost { executor, agent, status } => {
                let executor = classes.executor_id.parse(env, &executor)?;
                let agent = classes.agent_id.parse(env, &agent)?;
                let signature = jni_sig!(
                    "(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$ExecutorID;Lorg/apache/mesos/Protos$SlaveID;I)V"
                );
                let arguments =
                    [self.this(), JValue::Object(&executor), JValue::Object(&agent), JValue::Int(status)];
                env.call_method(&self.scheduler, jni_str!("executorLost"), signature, &arguments)?;
            }
            Callback::Error { message } => {
                let message = env.new_string(message)?;
                let signature = jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Ljava/lang/String;)V");
                let arguments = [self.this(), JValue::Object(&message)];
                env.call_method(&self.scheduler, jni_str!("error"), signature, &arguments)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn this(&self) -> JValue<'_> {
        JValue::Object(&self.driver)
    }
}

/// A `java.util.ArrayList` of messages.
fn list<'local>(
    env: &mut Env<'local>,
    class: &MessageClass,
    messages: &[Bytes],
) -> Result<JObject<'local>, Error> {
    let size = i32::try_from(messages.len()).unwrap_or(i32::MAX);
    let list = env.new_object(jni_str!("java/util/ArrayList"), jni_sig!("(I)V"), &[JValue::Int(size)])?;
    for message in messages {
        let message = class.parse(env, message)?.auto();
        let signature = jni_sig!("(Ljava/lang/Object;)Z");
        env.call_method(&list, jni_str!("add"), signature, &[JValue::Object(&message)])?;
    }
    Ok(list)
}
