//! What Java sees: the native methods of `org.apache.mesos.MesosSchedulerDriver`, for jars of Mesos 1.4 to 1.11.
//!
//! Methods that some jar overloads are exported by their long names alone: the JVM looks for the short name first, and would bind
//! every overload to it.
//!
//! A Java driver holds a number in its field `__driver`, by which the native driver is found. A number that is not known any
//! more, as after `finalize`, leads to an exception and not to freed memory.

// Exported symbols, and the attachment of threads as daemons, which the crate `jni` leaves to its users.
#![allow(unsafe_code)]

mod callbacks;
mod java;
mod scheduler_driver;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jni::{
    Env, EnvUnowned, JValue, errors::ThrowRuntimeExAndDefault, jni_sig, jni_str, objects::JObject,
    strings::JNIString,
};
use libmesos_core::scheduler::Status;

use crate::driver::{Driver, StartError};
use java::Classes;

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
}

/// The native side of a Java driver.
struct NativeDriver {
    driver: Driver,
    classes: Arc<Classes>,
    implicit_acknowledgements: bool,
}

/// All native drivers by their number.
static DRIVERS: Mutex<Drivers> = Mutex::new(Drivers { last: 0, by_number: BTreeMap::new() });

struct Drivers {
    last: i64,
    by_number: BTreeMap<i64, Arc<NativeDriver>>,
}

impl Drivers {
    fn add(driver: NativeDriver) -> i64 {
        let mut drivers = DRIVERS.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.last += 1;
        let number = drivers.last;
        drivers.by_number.insert(number, Arc::new(driver));
        number
    }

    fn get(number: i64) -> Option<Arc<NativeDriver>> {
        DRIVERS.lock().unwrap_or_else(PoisonError::into_inner).by_number.get(&number).cloned()
    }

    fn remove(number: i64) -> Option<Arc<NativeDriver>> {
        DRIVERS.lock().unwrap_or_else(PoisonError::into_inner).by_number.remove(&number)
    }
}

/// The native driver of a Java driver.
fn native_driver(env: &mut Env<'_>, this: &JObject<'_>) -> Result<Arc<NativeDriver>, NativeError> {
    let number = env.get_field(this, jni_str!("__driver"), jni_sig!("J"))?.j()?;
    Drivers::get(number).ok_or(NativeError::NoDriver)
}

/// Runs a method of a driver and returns its status to Java.
fn status_of<'local>(
    mut env: EnvUnowned<'local>,
    this: &JObject<'local>,
    method: impl FnOnce(&mut Env<'local>, &NativeDriver) -> Result<Status, NativeError>,
) -> JObject<'local> {
    env.with_env(|env| -> Result<JObject<'local>, NativeError> {
        let native = native_driver(env, this)?;
        let status = method(env, &native)?;
        Ok(native.classes.status(env, status)?)
    })
    .resolve::<ThrowRuntimeExAndDefault>()
}

/// Throws an exception of a class of the Java platform.
fn throw(env: &mut Env<'_>, class: &str, message: &str) -> NativeError {
    match env.throw_new(JNIString::from(class), JNIString::from(message)) {
        Ok(()) => NativeError::Jni(jni::errors::Error::JavaException),
        Err(error) => NativeError::Jni(error),
    }
}

/// Sets a field that holds a number.
fn set_long(env: &mut Env<'_>, this: &JObject<'_>, value: i64) -> Result<(), NativeError> {
    Ok(env.set_field(this, jni_str!("__driver"), jni_sig!("J"), JValue::Long(value))?)
}
