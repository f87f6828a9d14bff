//! The callbacks of `org.apache.mesos.Scheduler`.

use jni::{Env, JValue, errors::Error, jni_sig, jni_str};
use libmesos_core::scheduler::Callback;

use super::{
    callbacks::{JavaCallback, Objects, list},
    java::{MessageClass, message_class},
};

/// The message classes of the callbacks.
pub(super) struct SchedulerClasses {
    framework_id: MessageClass,
    master_info: MessageClass,
    offer: MessageClass,
    offer_id: MessageClass,
    task_status: MessageClass,
    executor_id: MessageClass,
    agent_id: MessageClass,
}

impl SchedulerClasses {
    /// To be called within a native method of the driver.
    pub(super) fn find(env: &mut Env<'_>) -> jni::errors::Result<Self> {
        Ok(SchedulerClasses {
            framework_id: message_class!(
                env,
                "org/apache/mesos/Protos$FrameworkID",
                "([B)Lorg/apache/mesos/Protos$FrameworkID;"
            ),
            master_info: message_class!(
                env,
                "org/apache/mesos/Protos$MasterInfo",
                "([B)Lorg/apache/mesos/Protos$MasterInfo;"
            ),
            offer: message_class!(
                env,
                "org/apache/mesos/Protos$Offer",
                "([B)Lorg/apache/mesos/Protos$Offer;"
            ),
            offer_id: message_class!(
                env,
                "org/apache/mesos/Protos$OfferID",
                "([B)Lorg/apache/mesos/Protos$OfferID;"
            ),
            task_status: message_class!(
                env,
                "org/apache/mesos/Protos$TaskStatus",
                "([B)Lorg/apache/mesos/Protos$TaskStatus;"
            ),
            executor_id: message_class!(
                env,
                "org/apache/mesos/Protos$ExecutorID",
                "([B)Lorg/apache/mesos/Protos$ExecutorID;"
            ),
            agent_id: message_class!(
                env,
                "org/apache/mesos/Protos$SlaveID",
                "([B)Lorg/apache/mesos/Protos$SlaveID;"
            ),
        })
    }
}

impl JavaCallback for Callback {
    type Classes = SchedulerClasses;

    fn call(self, env: &mut Env<'_>, objects: &Objects<Self>) -> Result<(), Error> {
        objects.call_scheduler(env, self)
    }
}

impl Objects<Callback> {
    fn call_scheduler(&self, env: &mut Env<'_>, callback: Callback) -> Result<(), Error> {
        let classes = &*self.classes;
        match callback {
            Callback::Registered { framework_id, master } => {
                let framework_id = classes.framework_id.parse(env, &framework_id)?;
                let master = classes.master_info.parse(env, &master)?;
                let signature = jni_sig!(
                    "(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$FrameworkID;Lorg/apache/mesos/Protos$MasterInfo;)V"
                );
                let arguments = [self.this(), JValue::Object(&framework_id), JValue::Object(&master)];
                env.call_method(self.framework(), jni_str!("registered"), signature, &arguments)?;
            }
            Callback::Reregistered { master } => {
                let master = classes.master_info.parse(env, &master)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$MasterInfo;)V");
                let arguments = [self.this(), JValue::Object(&master)];
                env.call_method(self.framework(), jni_str!("reregistered"), signature, &arguments)?;
            }
            Callback::Disconnected => {
                let signature = jni_sig!("(Lorg/apache/mesos/SchedulerDriver;)V");
                env.call_method(self.framework(), jni_str!("disconnected"), signature, &[self.this()])?;
            }
            Callback::ResourceOffers { offers } => {
                let offers = list(env, &classes.offer, &offers)?;
                let signature = jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Ljava/util/List;)V");
                let arguments = [self.this(), JValue::Object(&offers)];
                env.call_method(self.framework(), jni_str!("resourceOffers"), signature, &arguments)?;
            }
            Callback::OfferRescinded { offer } => {
                let offer = classes.offer_id.parse(env, &offer)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$OfferID;)V");
                let arguments = [self.this(), JValue::Object(&offer)];
                env.call_method(self.framework(), jni_str!("offerRescinded"), signature, &arguments)?;
            }
            Callback::StatusUpdate { status } => {
                let status = classes.task_status.parse(env, &status)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$TaskStatus;)V");
                let arguments = [self.this(), JValue::Object(&status)];
                env.call_method(self.framework(), jni_str!("statusUpdate"), signature, &arguments)?;
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
                env.call_method(self.framework(), jni_str!("frameworkMessage"), signature, &arguments)?;
            }
            Callback::AgentLost { agent } => {
                let agent = classes.agent_id.parse(env, &agent)?;
                let signature =
                    jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$SlaveID;)V");
                let arguments = [self.this(), JValue::Object(&agent)];
                env.call_method(self.framework(), jni_str!("slaveLost"), signature, &arguments)?;
            }
            Callback::ExecutorLost { executor, agent, status } => {
                let executor = classes.executor_id.parse(env, &executor)?;
                let agent = classes.agent_id.parse(env, &agent)?;
                let signature = jni_sig!(
                    "(Lorg/apache/mesos/SchedulerDriver;Lorg/apache/mesos/Protos$ExecutorID;Lorg/apache/mesos/Protos$SlaveID;I)V"
                );
                let arguments =
                    [self.this(), JValue::Object(&executor), JValue::Object(&agent), JValue::Int(status)];
                env.call_method(self.framework(), jni_str!("executorLost"), signature, &arguments)?;
            }
            Callback::Error { message } => {
                let message = env.new_string(message)?;
                let signature = jni_sig!("(Lorg/apache/mesos/SchedulerDriver;Ljava/lang/String;)V");
                let arguments = [self.this(), JValue::Object(&message)];
                env.call_method(self.framework(), jni_str!("error"), signature, &arguments)?;
            }
            _ => {}
        }
        Ok(())
    }
}
