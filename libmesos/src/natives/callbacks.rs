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
use libmesos_core::machine::Callback;

use super::java::MessageClass;
use crate::driver::Handler;

/// Local references that one callback needs; offers are released one by one.
const LOCAL_FRAME: usize = 16;

/// The Java objects of a driver that is started: what its callbacks are called on.
pub(super) trait JavaObjects: Send + 'static {
    /// The callbacks.
    type Callback: Callback;

    /// Calls the method of the framework's object.
    fn call(&self, env: &mut Env<'_>, callback: Self::Callback) -> Result<(), Error>;
}

/// Runs callbacks in Java.
pub(super) struct JavaHandler<O: JavaObjects> {
    vm: JavaVM,
    /// `None` once the last callback has returned.
    objects: Option<O>,
    /// Whether a callback has attached its thread.
    attached: bool,
}

impl<O: JavaObjects> JavaHandler<O> {
    pub(super) fn new(env: &mut Env<'_>, objects: O) -> jni::errors::Result<Self> {
        Ok(JavaHandler { vm: env.get_java_vm()?, objects: Some(objects), attached: false })
    }
}

impl<O: JavaObjects> Handler<O::Callback> for JavaHandler<O> {
    fn call(&mut self, callback: O::Callback) -> Result<(), String> {
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

impl<O: JavaObjects> Drop for JavaHandler<O> {
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

/// A callback of a driver's framework or executor.
pub(super) trait JavaCallback: Callback {
    /// The classes of its arguments. They are found while a native method of the driver runs, that is, by the driver's own
    /// loader; the callback thread would look in the system's.
    type Classes: Send + Sync + 'static;

    /// Calls the method of the framework's object.
    fn call(self, env: &mut Env<'_>, objects: &Objects<Self>) -> Result<(), Error>;
}

/// The Java objects of a `MesosSchedulerDriver` or `MesosExecutorDriver`.
pub(super) struct Objects<C: JavaCallback> {
    /// Held as long as callbacks may come, so that a running driver is not collected.
    driver: Global<JObject<'static>>,
    framework: Global<JObject<'static>>,
    pub(super) classes: Arc<C::Classes>,
}

impl<C: JavaCallback> Objects<C> {
    pub(super) fn new(
        env: &mut Env<'_>,
        driver: &JObject<'_>,
        framework: &JObject<'_>,
        classes: Arc<C::Classes>,
    ) -> jni::errors::Result<Self> {
        let driver = env.new_global_ref(driver)?;
        let framework = env.new_global_ref(framework)?;
        Ok(Objects { driver, framework, classes })
    }

    /// The driver as an argument.
    pub(super) fn this(&self) -> JValue<'_> {
        JValue::Object(&self.driver)
    }

    /// The object with the callbacks.
    pub(super) fn framework(&self) -> &JObject<'static> {
        &self.framework
    }
}

impl<C: JavaCallback> JavaObjects for Objects<C> {
    type Callback = C;

    fn call(&self, env: &mut Env<'_>, callback: C) -> Result<(), Error> {
        callback.call(env, self)
    }
}

/// Runs a function with the environment of this thread, which is attached as a daemon if it is not attached.
pub(super) fn with_daemon<T>(
    vm: &JavaVM,
    run: impl FnOnce(&mut Env<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
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

/// A `java.util.ArrayList` of messages.
pub(super) fn list<'local>(
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
