//! The callbacks of `org.apache.mesos.Executor`.

use jni::{Env, JValue, errors::Error, jni_sig, jni_str};
use libmesos_core::executor::Callback;

use super::{
    callbacks::{JavaCallback, Objects},
    java::{MessageClass, message_class},
};

/// The message classes of the callbacks.
pub(super) struct ExecutorClasses {
    executor_info: MessageClass,
    framework_info: MessageClass,
    agent_info: MessageClass,
    task_info: MessageClass,
    task_id: MessageClass,
}

impl ExecutorClasses {
    /// To be called within a native method of the driver.
    pub(super) fn find(env: &mut Env<'_>) -> jni::errors::Result<Self> {
        Ok(ExecutorClasses {
            executor_info: message_class!(
                env,
                "org/apache/mesos/Protos$ExecutorInfo",
                "([B)Lorg/apache/mesos/Protos$ExecutorInfo;"
            ),
            framework_info: message_class!(
                env,
                "org/apache/mesos/Protos$FrameworkInfo",
                "([B)Lorg/apache/mesos/Protos$FrameworkInfo;"
            ),
            agent_info: message_class!(
                env,
                "org/apache/mesos/Protos$SlaveInfo",
                "([B)Lorg/apache/mesos/Protos$SlaveInfo;"
            ),
            task_info: message_class!(
                env,
                "org/apache/mesos/Protos$TaskInfo",
                "([B)Lorg/apache/mesos/Protos$TaskInfo;"
            ),
            task_id: message_class!(
                env,
                "org/apache/mesos/Protos$TaskID",
                "([B)Lorg/apache/mesos/Protos$TaskID;"
            ),
        })
    }
}

impl JavaCallback for Callback {
    type Classes = ExecutorClasses;

    fn call(self, env: &mut Env<'_>, objects: &Objects<Self>) -> Result<(), Error> {
        let classes = &*objects.classes;
        let (executor, this) = (objects.framework(), objects.this());
        match self {
            Callback::Registered { executor: info, framework, agent } => {
                let info = classes.executor_info.parse(env, &info)?;
                let framework = classes.framework_info.parse(env, &framework)?;
                let agent = classes.agent_info.parse(env, &agent)?;
                let signature = jni_sig!(
                    "(Lorg/apache/mesos/ExecutorDriver;Lorg/apache/mesos/Protos$ExecutorInfo;Lorg/apache/mesos/Protos$FrameworkInfo;Lorg/apache/mesos/Protos$SlaveInfo;)V"
                );
                let arguments =
                    [this, JValue::Object(&info), JValue::Object(&framework), JValue::Object(&agent)];
                env.call_method(executor, jni_str!("registered"), signature, &arguments)?;
            }
            Callback::Reregistered { agent } => {
                let agent = classes.agent_info.parse(env, &agent)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/ExecutorDriver;Lorg/apache/mesos/Protos$SlaveInfo;)V");
                let arguments = [this, JValue::Object(&agent)];
                env.call_method(executor, jni_str!("reregistered"), signature, &arguments)?;
            }
            Callback::LaunchTask { task } => {
                let task = classes.task_info.parse(env, &task)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/ExecutorDriver;Lorg/apache/mesos/Protos$TaskInfo;)V");
                let arguments = [this, JValue::Object(&task)];
                env.call_method(executor, jni_str!("launchTask"), signature, &arguments)?;
            }
            Callback::KillTask { task } => {
                let task = classes.task_id.parse(env, &task)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/ExecutorDriver;Lorg/apache/mesos/Protos$TaskID;)V");
                let arguments = [this, JValue::Object(&task)];
                env.call_method(executor, jni_str!("killTask"), signature, &arguments)?;
            }
            Callback::FrameworkMessage { data } => {
                let data = env.byte_array_from_slice(&data)?;
                let signature = jni_sig!("(Lorg/apache/mesos/ExecutorDriver;[B)V");
                let arguments = [this, JValue::Object(&data)];
                env.call_method(executor, jni_str!("frameworkMessage"), signature, &arguments)?;
            }
            Callback::Error { message } => {
                let message = env.new_string(message)?;
                let signature = jni_sig!("(Lorg/apache/mesos/ExecutorDriver;Ljava/lang/String;)V");
                let arguments = [this, JValue::Object(&message)];
                env.call_method(executor, jni_str!("error"), signature, &arguments)?;
            }
            Callback::Disconnected => {
                let signature = jni_sig!("(Lorg/apache/mesos/ExecutorDriver;)V");
                env.call_method(executor, jni_str!("disconnected"), signature, &[this])?;
            }
            Callback::Shutdown => {
                let signature = jni_sig!("(Lorg/apache/mesos/ExecutorDriver;)V");
                env.call_method(executor, jni_str!("shutdown"), signature, &[this])?;
            }
        }
        Ok(())
    }
}
