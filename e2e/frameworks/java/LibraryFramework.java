/*
 * A framework on the v1 API of Mesos' Java library, run from its source with the library's jar:
 *
 *   java -cp mesos.jar LibraryFramework.java v1|v0 MASTER PRINCIPAL SECRET
 *
 * It launches one task. After its second subscription it asks for a new connection (v1 alone), then kills the task and tears itself
 * down. It prints one line for each callback but heartbeats and offers.
 */

import java.util.List;
import org.apache.mesos.v1.Protos.AgentID;
import org.apache.mesos.v1.Protos.CommandInfo;
import org.apache.mesos.v1.Protos.Credential;
import org.apache.mesos.v1.Protos.FrameworkID;
import org.apache.mesos.v1.Protos.FrameworkInfo;
import org.apache.mesos.v1.Protos.Offer;
import org.apache.mesos.v1.Protos.Resource;
import org.apache.mesos.v1.Protos.TaskID;
import org.apache.mesos.v1.Protos.TaskInfo;
import org.apache.mesos.v1.Protos.TaskStatus;
import org.apache.mesos.v1.Protos.Value;
import org.apache.mesos.v1.scheduler.Mesos;
import org.apache.mesos.v1.scheduler.Protos.Call;
import org.apache.mesos.v1.scheduler.Protos.Event;
import org.apache.mesos.v1.scheduler.Scheduler;
import org.apache.mesos.v1.scheduler.V0Mesos;
import org.apache.mesos.v1.scheduler.V1Mesos;

public final class LibraryFramework implements Scheduler {
  private static final TaskID TASK = TaskID.newBuilder().setValue("task").build();

  private final boolean v1;
  private FrameworkInfo framework =
      FrameworkInfo.newBuilder().setUser("root").setName("library").setFailoverTimeout(120).build();
  private AgentID agent;
  private int subscriptions;
  private boolean launched;

  private LibraryFramework(boolean v1) {
    this.v1 = v1;
  }

  public static void main(String[] arguments) throws InterruptedException {
    LibraryFramework scheduler = new LibraryFramework(arguments[0].equals("v1"));
    try {
      new V1Mesos(scheduler, "zk://");
      say("a name that is none is taken");
    } catch (IllegalArgumentException refused) {
      say("refused");
    }
    Credential credential = Credential.newBuilder().setPrincipal(arguments[2]).setSecret(arguments[3]).build();
    Mesos mesos =
        scheduler.v1
            ? new V1Mesos(scheduler, arguments[1], credential)
            : new V0Mesos(scheduler, scheduler.framework, arguments[1], credential);
    synchronized (scheduler) {
      while (true) {
        scheduler.wait();
      }
    }
  }

  private static void say(String line) {
    System.out.println(line);
    System.out.flush();
  }

  private Call.Builder call(Call.Type type) {
    return Call.newBuilder().setType(type).setFrameworkId(framework.getId());
  }

  private static Resource cpus() {
    return Resource.newBuilder()
        .setName("cpus")
        .setType(Value.Type.SCALAR)
        .setScalar(Value.Scalar.newBuilder().setValue(0.1))
        .build();
  }

  @Override
  public void connected(Mesos mesos) {
    say("connected");
    Call.Builder call = Call.newBuilder().setType(Call.Type.SUBSCRIBE);
    if (framework.hasId()) {
      call.setFrameworkId(framework.getId());
    }
    mesos.send(call.setSubscribe(Call.Subscribe.newBuilder().setFrameworkInfo(framework)).build());
  }

  @Override
  public void disconnected(Mesos mesos) {
    say("disconnected");
  }

  @Override
  public void received(Mesos mesos, Event event) {
    switch (event.getType()) {
      case SUBSCRIBED:
        subscribed(mesos, event.getSubscribed().getFrameworkId());
        break;
      case OFFERS:
        for (Offer offer : event.getOffers().getOffersList()) {
          offered(mesos, offer);
        }
        break;
      case UPDATE:
        updated(mesos, event.getUpdate().getStatus());
        break;
      case ERROR:
        say("error " + event.getError().getMessage());
        break;
      default:
        break;
    }
  }

  private void subscribed(Mesos mesos, FrameworkID id) {
    say(framework.hasId() && framework.getId().equals(id) ? "subscribed again" : "subscribed");
    framework = framework.toBuilder().setId(id).build();
    subscriptions++;
    if (subscriptions == 2 && v1) {
      mesos.reconnect();
    } else if (subscriptions > 1) {
      Call.Kill kill = Call.Kill.newBuilder().setTaskId(TASK).setAgentId(agent).build();
      mesos.send(call(Call.Type.KILL).setKill(kill).build());
    }
  }

  private void offered(Mesos mesos, Offer offer) {
    if (launched) {
      Call.Decline decline = Call.Decline.newBuilder().addOfferIds(offer.getId()).build();
      mesos.send(call(Call.Type.DECLINE).setDecline(decline).build());
      return;
    }
    launched = true;
    agent = offer.getAgentId();
    TaskInfo task =
        TaskInfo.newBuilder()
            .setName("task")
            .setTaskId(TASK)
            .setAgentId(agent)
            .setCommand(CommandInfo.newBuilder().setValue("exec sleep 1000"))
            .addResources(cpus())
            .build();
    Offer.Operation launch =
        Offer.Operation.newBuilder()
            .setType(Offer.Operation.Type.LAUNCH)
            .setLaunch(Offer.Operation.Launch.newBuilder().addTaskInfos(task))
            .build();
    Call.Accept accept =
        Call.Accept.newBuilder().addAllOfferIds(List.of(offer.getId())).addOperations(launch).build();
    mesos.send(call(Call.Type.ACCEPT).setAccept(accept).build());
  }

  private void updated(Mesos mesos, TaskStatus status) {
    say("update " + status.getState());
    if (status.hasUuid()) {
      Call.Acknowledge acknowledge =
          Call.Acknowledge.newBuilder()
              .setAgentId(status.getAgentId())
              .setTaskId(status.getTaskId())
              .setUuid(status.getUuid())
              .build();
      mesos.send(call(Call.Type.ACKNOWLEDGE).setAcknowledge(acknowledge).build());
    }
    switch (status.getState()) {
      case TASK_KILLED:
        mesos.send(call(Call.Type.TEARDOWN).build());
        say("torn down");
        System.exit(0);
        break;
      default:
        break;
    }
  }
}
