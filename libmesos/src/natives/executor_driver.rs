//! The native methods of `org.apache.mesos.MesosExecutorDriver`.

use std::sync::Arc;

use jni::{
    EnvUnowned, jni_mangle, jni_sig, jni_str,
    objects::{IntoAuto, JByteArray, JObject},
};
use libmesos_core::executor::{self, Config, Request};

use super::{
    Drivers, NativeDriver,
    callbacks::{JavaHandler, Objects},
    executor_callbacks::ExecutorClasses,
    finalize_driver,
    java::{self, StatusClass},
    seed, set_long, status_of, void,
};
use crate::{driver::Driver, endpoint_client::Api, network::Target};

/// Whether agents speak HTTPS, as in Mesos.
const SSL_VARIABLE: &str = "LIBPROCESS_SSL_ENABLED";

/// All native drivers of executors.
static DRIVERS: Drivers<executor::Driver> = Drivers::new();

/// A driver with what the agent has put into the environment.
fn driver() -> Driver<executor::Driver> {
    let variable = |name: &str| std::env::var(name).ok();
    let ssl_enabled = variable(SSL_VARIABLE).is_some_and(|value| value == "1" || value == "true");
    let config = Config::from_environment(variable, ssl_enabled);
    let api = config.as_ref().map(|config| Api::executor(&config.path, config.token.as_deref()));
    let api = api.map_err(Clone::clone);
    Driver::new(executor::Driver::new(config, seed()), move || Ok(Target { master: None, api: api? }))
}

#[jni_mangle("org.apache.mesos.MesosExecutorDriver", "initialize")]
pub extern "system" fn initialize<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    void(env, |env| {
        crate::log::init();
        let native = NativeDriver {
            driver: driver(),
            status: StatusClass::find(env)?,
            classes: Arc::new(ExecutorClasses::find(env)?),
        };
        set_long(env, &this, DRIVERS.add(native))
    });
}

#[jni_mangle("org.apache.mesos.MesosExecutorDriver", "finalize")]
pub extern "system" fn finalize<'local>(env: EnvUnowned<'local>, this: JObject<'local>) {
    finalize_driver(env, &this, &DRIVERS);
}

#[jni_mangle("org.apache.mesos.MesosExecutorDriver", "start")]
pub extern "system" fn start<'local>(env: EnvUnowned<'local>, this: JObject<'local>) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |env, native| {
        let executor = env.get_field(&this, jni_str!("executor"), jni_sig!("Lorg/apache/mesos/Executor;"))?;
        let executor = executor.l()?.auto();
        let objects = Objects::new(env, &this, &executor, native.classes.clone())?;
        Ok(native.driver.start(JavaHandler::new(env, objects)?)?)
    })
}

#[jni_mangle("org.apache.mesos.MesosExecutorDriver", "stop")]
pub extern "system" fn stop<'local>(env: EnvUnowned<'local>, this: JObject<'local>) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |_, native| Ok(native.driver.stop(false)))
}

#[jni_mangle("org.apache.mesos.MesosExecutorDriver", "abort")]
pub extern "system" fn abort<'local>(env: EnvUnowned<'local>, this: JObject<'local>) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |_, native| Ok(native.driver.abort()))
}

#[jni_mangle("org.apache.mesos.MesosExecutorDriver", "join")]
pub extern "system" fn join<'local>(env: EnvUnowned<'local>, this: JObject<'local>) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |_, native| Ok(native.driver.join()))
}

#[jni_mangle("org.apache.mesos.MesosExecutorDriver", "sendStatusUpdate")]
pub extern "system" fn send_status_update<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    status: JObject<'local>,
) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |env, native| {
        let status = java::message(env, &status)?;
        Ok(native.driver.request(Request::Update { status }))
    })
}

#[jni_mangle("org.apache.mesos.MesosExecutorDriver", "sendFrameworkMessage")]
pub extern "system" fn send_framework_message<'local>(
    env: EnvUnowned<'local>,
    this: JObject<'local>,
    data: JByteArray<'local>,
) -> JObject<'local> {
    status_of(env, &this, &DRIVERS, |env, native| {
        let data = env.convert_byte_array(&data)?.into();
        Ok(native.driver.request(Request::Message { data }))
    })
}
