/*
 * A framework on Mesos' Java library whose executor is one, too, run from its source with the library's jar:
 *
 *   java -cp mesos.jar DriverFramework.java scheduler MASTER PRINCIPAL SECRET JAR
 *
 * It launches one task with checkpoints. Its executor answers messages, and reports what happens while its agent is away. When the
 * scheduler hears of that, it kills the task and ends. Each side prints one line for each callback.
 */

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import org.apache.mesos.Executor;
import org.apache.mesos.ExecutorDriver;
import org.apache.mesos.MesosExecutorDriver;
import org.apache.mesos.MesosSchedulerDriver;
import org.apache.mesos.Protos.CommandInfo;
import org.apache.mesos.Protos.Credential;
import org.apache.mesos.Protos.Environment;
import org.apache.mesos.Protos.ExecutorID;
import org.apache.mesos.Protos.ExecutorInfo;
import org.apache.mesos.Protos.Filters;
import org.apache.mesos.Protos.FrameworkID;
import org.apache.mesos.Protos.FrameworkInfo;
import org.apache.mesos.Protos.MasterInfo;
import org.apache.mesos.Protos.Offer;
import org.apache.mesos.Protos.OfferID;
import org.apache.mesos.Protos.Resource;
import org.apache.mesos.Protos.SlaveID;
import org.apache.mesos.Protos.SlaveInfo;
import org.apache.mesos.Protos.Status;
import org.apache.mesos.Protos.TaskID;
import org.apache.mesos.Protos.TaskInfo;
import org.apache.mesos.Protos.TaskState;
import org.apache.mesos.Protos.TaskStatus;
import org.apache.mesos.Protos.Value;
import org.apache.mesos.Scheduler;
import org.apache.mesos.SchedulerDriver;

public final class DriverFramework {
  private static final TaskID TASK = TaskID.newBuilder().setValue("task").build();
  private static final ExecutorID EXECUTOR = ExecutorID.newBuilder().setValue("executor").build();

  public static void main(String[] arguments) {
    if (arguments[0].equals("executor")) {
      Status status = new MesosExecutorDriver(new Worker()).run();
      say("executor ends with " + status);
      System.exit(0);
    }
    FrameworkInfo framework = FrameworkInfo.newBuilder().setUser("").setName("java").setCheckpoint(true).build();
    Credential credential = Credential.newBuilder().setPrincipal(arguments[2]).setSecret(arguments[3]).build();
    Scheduler scheduler = new Launcher(arguments[4]);
    Status status = new MesosSchedulerDriver(scheduler, framework, arguments[1], credential).run();
    say("ends with " + status);
  }

  private static void say(String line) {
    System.out.println(line);
    System.out.flush();
  }

  private static Resource scalar(String name, double value) {
    return Resource.newBuilder()
        .setName(name)
        .setType(Value.Type.SCALAR)
        .setScalar(Value.Scalar.newBuilder().setValue(value))
        .build();
  }

  /** Launches the task on the first offer. */
  private static final class Launcher implements Scheduler {
    private final String jar;
    private boolean launched;

    Launcher(String jar) {
      this.jar = jar;
    }

    private TaskInfo task(Offer offer) {
      Environment.Variable library =
          Environment.Variable.newBuilder()
              .setName("MESOS_NATIVE_JAVA_LIBRARY")
              .setValue(System.getenv("MESOS_NATIVE_JAVA_LIBRARY"))
              .build();
      Path source = Path.of(System.getenv("FRAMEWORK_SOURCE")).toAbsolutePath();
      CommandInfo command =
          CommandInfo.newBuilder()
              .setValue("exec java -cp " + jar + " " + source + " executor")
              .setEnvironment(Environment.newBuilder().addVariables(library))
              .build();
      ExecutorInfo executor =
          ExecutorInfo.newBuilder().setExecutorId(EXECUTOR).setCommand(command).addResources(scalar("mem", 256)).build();
      return TaskInfo.newBuilder()
          .setName("task")
          .setTaskId(TASK)
          .setSlaveId(offer.getSlaveId())
          .setExecutor(executor)
          .addResources(scalar("cpus", 0.1))
          .build();
    }

    @Override
    public void registered(SchedulerDriver driver, FrameworkID id, MasterInfo master) {
      say("registered");
    }

    @Override
    public void reregistered(SchedulerDriver driver, MasterInfo master) {
      say("reregistered");
    }

    @Override
    public void resourceOffers(SchedulerDriver driver, List<Offer> offers) {
      for (Offer offer : offers) {
        if (launched) {
          driver.declineOffer(offer.getId());
        } else {
          launched = true;
          driver.launchTasks(List.of(offer.getId()), List.of(task(offer)), Filters.getDefaultInstance());
        }
      }
    }

    @Override
    public void offerRescinded(SchedulerDriver driver, OfferID offer) {}

    @Override
    public void statusUpdate(SchedulerDriver driver, TaskStatus status) {
      say("update " + status.getState() + " " + status.getMessage());
      switch (status.getMessage()) {
        case "launched":
          driver.sendFrameworkMessage(EXECUTOR, status.getSlaveId(), "ping".getBytes(StandardCharsets.UTF_8));
          break;
        case "agent away":
          driver.killTask(TASK);
          break;
        case "killed":
          driver.stop();
          break;
        default:
          break;
      }
    }

    @Override
    public void frameworkMessage(SchedulerDriver driver, ExecutorID executor, SlaveID agent, byte[] data) {
      say("message " + new String(data, StandardCharsets.UTF_8));
    }

    @Override
    public void disconnected(SchedulerDriver driver) {
      say("disconnected");
    }

    @Override
    public void slaveLost(SchedulerDriver driver, SlaveID agent) {
      say("agent lost");
    }

    @Override
    public void executorLost(SchedulerDriver driver, ExecutorID executor, SlaveID agent, int status) {
      say("executor lost");
    }

    @Override
    public void error(SchedulerDriver driver, String message) {
      say("error " + message);
    }
  }

  /** Answers messages. It does not end when it is told to shut down. */
  private static final class Worker implements Executor {
    private void report(ExecutorDriver driver, TaskState state, String message) {
      driver.sendStatusUpdate(TaskStatus.newBuilder().setTaskId(TASK).setState(state).setMessage(message).build());
    }

    @Override
    public void registered(ExecutorDriver driver, ExecutorInfo executor, FrameworkInfo framework, SlaveInfo agent) {
      say("registered " + executor.getExecutorId().getValue() + " of " + framework.getName() + " on an agent with "
          + (agent.hasHostname() ? "a" : "no") + " name");
    }

    @Override
    public void reregistered(ExecutorDriver driver, SlaveInfo agent) {
      say("reregistered");
    }

    @Override
    public void disconnected(ExecutorDriver driver) {
      say("disconnected");
      report(driver, TaskState.TASK_RUNNING, "agent away");
    }

    @Override
    public void launchTask(ExecutorDriver driver, TaskInfo task) {
      say("launch " + task.getTaskId().getValue());
      report(driver, TaskState.TASK_RUNNING, "launched");
    }

    @Override
    public void killTask(ExecutorDriver driver, TaskID task) {
      say("kill " + task.getValue());
      report(driver, TaskState.TASK_KILLED, "killed");
    }

    @Override
    public void frameworkMessage(ExecutorDriver driver, byte[] data) {
      say("message " + new String(data, StandardCharsets.UTF_8));
      driver.sendFrameworkMessage("pong".getBytes(StandardCharsets.UTF_8));
    }

    @Override
    public void shutdown(ExecutorDriver driver) {
      say("shutdown");
    }

    @Override
    public void error(ExecutorDriver driver, String message) {
      say("error " + message);
    }
  }
}
