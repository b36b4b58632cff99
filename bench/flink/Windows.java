// The works of bench:windows as Flink jobs: the same events, the same aggregates, in this process and on one thread of its own.
// Arguments: work, keys, events, state backend (hashmap or rocksdb), how events come to their keys (keyBy or forward), milliseconds between
// checkpoints (0: none), directory. Prints its figures as JSON.

import java.io.Serializable;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.streaming.api.windowing.assigners.EventTimeSessionWindows;
import org.apache.flink.streaming.api.windowing.assigners.SlidingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.util.Collector;

public final class Windows {
  static final int DISORDER_MS = 500;
  static final Duration SIZE = Duration.ofSeconds(60);
  static final Duration SLIDE = Duration.ofSeconds(5);
  static final Duration GAP = Duration.ofSeconds(30);

  public static final class Reading implements Serializable {
    public int key;
    public long at;
    public int amount;
  }

  public static final class Total {
    public int count;
    public double sum;
    public double max;

    Total add(Reading event) {
      count++;
      sum += event.amount;
      if (event.amount > max) max = event.amount;
      return this;
    }
  }

  /** One event each millisecond, up to half a second late, of keys that are drawn evenly; always the same object. */
  static final class Events implements GeneratorFunction<Long, Reading> {
    final int keys;
    final Reading event = new Reading();
    int random = 123_456_789;

    Events(int keys) {
      this.keys = keys;
    }

    @Override
    public Reading map(Long index) {
      event.at = index - drawBelow(DISORDER_MS);
      event.key = drawBelow(keys);
      event.amount = drawBelow(100);
      return event;
    }

    int drawBelow(int limit) {
      random ^= random << 13;
      random ^= random >>> 17;
      random ^= random << 5;
      return Integer.remainderUnsigned(random, limit);
    }
  }

  static final class Adding implements AggregateFunction<Reading, Total, Total> {
    static long results;

    @Override
    public Total createAccumulator() {
      return new Total();
    }

    @Override
    public Total add(Reading event, Total total) {
      return total.add(event);
    }

    @Override
    public Total getResult(Total total) {
      results++;
      return total;
    }

    @Override
    public Total merge(Total one, Total other) {
      one.count += other.count;
      one.sum += other.sum;
      one.max = Math.max(one.max, other.max);
      return one;
    }
  }

  static final class Counting extends KeyedProcessFunction<Integer, Reading, Total>
      implements CheckpointedFunction, CheckpointListener {
    /** From where the state is looked at until the checkpoint is complete. */
    static final List<Long> checkpointsMs = new ArrayList<>();

    transient ValueState<Total> totals;
    transient Map<Long, Long> begunNanos;

    @Override
    public void open(OpenContext context) {
      totals = getRuntimeContext().getState(new ValueStateDescriptor<>("totals", Types.POJO(Total.class)));
    }

    @Override
    public void processElement(Reading event, Context context, Collector<Total> out) throws Exception {
      Total total = totals.value();
      totals.update((total == null ? new Total() : total).add(event));
    }

    @Override
    public void initializeState(FunctionInitializationContext context) {
      begunNanos = new HashMap<>();
    }

    @Override
    public void snapshotState(FunctionSnapshotContext context) {
      begunNanos.put(context.getCheckpointId(), System.nanoTime());
    }

    @Override
    public void notifyCheckpointComplete(long id) {
      Long begun = begunNanos.remove(id);
      if (begun != null) checkpointsMs.add((System.nanoTime() - begun) / 1_000_000);
    }
  }

  public static void main(String[] given) throws Exception {
    String work = given[0];
    int keys = Integer.parseInt(given[1]);
    long events = Long.parseLong(given[2]);
    boolean isShuffled = given[4].equals("keyBy");
    long intervalMs = Long.parseLong(given[5]);

    StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(1, settings(given[3], given[6]));
    if (intervalMs > 0) env.enableCheckpointing(intervalMs);
    DataStream<Reading> readings = env.fromSource(
        new DataGeneratorSource<>(new Events(keys), events, TypeInformation.of(Reading.class)),
        WatermarkStrategy.<Reading>forBoundedOutOfOrderness(Duration.ofMillis(DISORDER_MS))
            .withTimestampAssigner((event, ignored) -> event.at),
        "events");
    KeyedStream<Reading, Integer> keyed = isShuffled
        ? readings.keyBy(event -> event.key, Types.INT)
        : DataStreamUtils.reinterpretAsKeyedStream(readings, event -> event.key, Types.INT);
    done(keyed, work).sinkTo(new DiscardingSink<>());
    env.execute(work);

    long nanos = ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    System.out.printf("{\"processorSeconds\":%s,\"results\":%d,\"checkpointsMs\":%s}%n", nanos / 1e9, Adding.results, Counting.checkpointsMs);
    System.exit(0);
  }

  static DataStream<Total> done(KeyedStream<Reading, Integer> keyed, String work) {
    return switch (work) {
      case "tumbling" -> keyed.window(TumblingEventTimeWindows.of(SIZE)).aggregate(new Adding());
      case "hopping" -> keyed.window(SlidingEventTimeWindows.of(SIZE, SLIDE)).aggregate(new Adding());
      case "sessions" -> keyed.window(EventTimeSessionWindows.withGap(GAP)).aggregate(new Adding());
      case "counter" -> keyed.process(new Counting());
      default -> throw new IllegalArgumentException(work);
    };
  }

  static Configuration settings(String stateBackend, String directory) {
    Configuration settings = new Configuration();
    settings.setString("state.backend.type", stateBackend);
    settings.setString("execution.checkpointing.incremental", "true");
    settings.setString("execution.checkpointing.dir", "file://" + directory + "/checkpoints");
    settings.setString("io.tmp.dirs", directory);
    settings.setString("taskmanager.memory.managed.size", "1g");
    settings.setString("pipeline.object-reuse", "true");
    settings.setString("pipeline.auto-watermark-interval", "20 ms");
    settings.setString("rest.port", "0");
    return settings;
  }
}
