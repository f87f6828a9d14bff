//! What Java sees: the native methods of `MesosSchedulerDriver` and `MesosExecutorDriver` of `org.apache.mesos`, of `V1Mesos` and
//! `V0Mesos` of `org.apache.mesos.v1.scheduler`, and of the state in ZooKeeper of `org.apache.mesos.state`, for jars of Mesos 1.4 to
//! 1.11.
//!
//! Methods that some jar overloads are exported by their long names alone: the JVM looks for the short name first, and would bind
//! every overload to it.
//!
//! A Java object holds a number in a field, as `__driver`, by which its native side is found. A number that is not known any
//! more, as after `finalize`, leads to an exception and not to freed memory.

// Exported symbols, and the attachment of threads as daemons, which the crate `jni` leaves to its users.
#![allow(unsafe_code)]

mod callbacks;
mod executor_callbacks;
mod executor_driver;
mod java;
mod library;
mod load;
mod registry;
mod scheduler_callbacks;
mod scheduler_driver;
mod state;
mod unsupported;

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use jni::{
    Env, EnvUnowned, JValue,
    errors::{Error, ErrorPolicy, ThrowRuntimeExAndDefault},
    jni_sig, jni_str,
    objects::JObject,
    strings::JNIString,
};
use libmesos_core::machine::{Machine, Status};

use crate::driver::{Driver, StartError};
use callbacks::JavaCallback;
use java::StatusClass;
use registry::Registry;

/// Why a native method fails: it becomes a Java exception.
#[derive(Debug, thiserror::Error)]
enum NativeError {
    /// With a Java exception pending, which is what the caller sees.
    #[error(transparent)]
    Jni(#[from] jni::errors::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("The driver is not initialized, or has been finalized")]
    NoDriver,
    #[error("The library is not initialized, or has been finalized")]
    NoLibrary,
    #[error("The state is not initialized, or has been finalized")]
    NoState,
    #[error("The variable has been finalized")]
    NoVariable,
    #[error("The future has been finalized")]
    NoFuture,
    #[error("Cannot start a thread of the state: {0}")]
    State(#[from] std::io::Error),
}

/// How errors reach Java: an argument that must not be `null` as a NullPointerException, others as a RuntimeException. An exception
/// that is pending stays.
struct Throw;

impl<T: Default> ErrorPolicy<T, NativeError> for Throw {
    type Captures<'unowned: 'method, 'method> = ();

    fn on_error<'unowned: 'method, 'method>(
        env: &mut Env<'unowned>,
        captures: &mut (),
        error: NativeError,
    ) -> jni::errors::Result<T> {
        match &error {
            NativeError::Jni(Error::NullPtr(_)) if !env.exception_check() => {
                // The exception is for the caller in Java.
                let _ = throw(env, "java/lang/NullPointerException", "Not expecting null");
                Ok(T::default())
            }
            _ => ThrowRuntimeExAndDefault::on_error(env, captures, error),
        }
    }

    fn on_panic<'unowned: 'method, 'method>(
        env: &mut Env<'unowned>,
        captures: &mut (),
        payload: Box<dyn std::any::Any + Send + 'static>,
    ) -> jni::errors::Result<T> {
        <ThrowRuntimeExAndDefault as ErrorPolicy<T, NativeError>>::on_panic(env, captures, payload)
    }
}

/// The native side of a Java driver.
struct NativeDriver<M: Machine<Callback: JavaCallback>> {
    driver: Driver<M>,
    status: StatusClass,
    classes: Arc<<M::Callback as JavaCallback>::Classes>,
}

type Drivers<M> = Registry<NativeDriver<M>>;

/// The native driver of a Java driver.
fn native_driver<M: Machine<Callback: JavaCallback>>(
    env: &mut Env<'_>,
    this: &JObject<'_>,
    drivers: &Drivers<M>,
) -> Result<Arc<NativeDriver<M>>, NativeError> {
    let number = env.get_field(this, jni_str!("__driver"), jni_sig!("J"))?.j()?;
    drivers.get(number).ok_or(NativeError::NoDriver)
}

/// Runs a method that returns nothing to Java.
fn void<'local>(
    mut env: EnvUnowned<'local>,
    method: impl FnOnce(&mut Env<'local>) -> Result<(), NativeError>,
) {
    env.with_env(method).resolve::<Throw>();
}

/// Runs a method of a driver and returns its status to Java.
fn status_of<'local, M: Machine<Callback: JavaCallback>>(
    mut env: EnvUnowned<'local>,
    this: &JObject<'local>,
    drivers: &Drivers<M>,
    method: impl FnOnce(&mut Env<'local>, &NativeDriver<M>) -> Result<Status, NativeError>,
) -> JObject<'local> {
    env.with_env(|env| -> Result<JObject<'local>, NativeError> {
        let native = native_driver(env, this, drivers)?;
        let status = method(env, &native)?;
        Ok(native.status.constant(env, status)?)
    })
    .resolve::<Throw>()
}

/// Ends a driver whose finalizer runs. A running driver is not collected, but finalizers can be called by hand.
fn finalize_driver<'local, M: Machine<Callback: JavaCallback>>(
    env: EnvUnowned<'local>,
    this: &JObject<'local>,
    drivers: &Drivers<M>,
) {
    void(env, |env| {
        let number = env.get_field(this, jni_str!("__driver"), jni_sig!("J"))?.j()?;
        set_long(env, this, 0)?;
        if let Some(native) = drivers.remove(number) {
            native.driver.abort();
        }
        Ok(())
    });
}

/// Throws an exception of a class of the Java platform.
fn throw(env: &mut Env<'_>, class: &str, message: &str) -> NativeError {
    match env.throw_new(JNIString::from(class), JNIString::from(message)) {
        Ok(()) => NativeError::Jni(jni::errors::Error::JavaException),
        Err(error) => NativeError::Jni(error),
    }
}

/// Sets the field that holds a driver's number.
fn set_long(env: &mut Env<'_>, this: &JObject<'_>, value: i64) -> Result<(), NativeError> {
    Ok(env.set_field(this, jni_str!("__driver"), jni_sig!("J"), JValue::Long(value))?)
}

/// A number that differs in each driver of each process.
fn seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
