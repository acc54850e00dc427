import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A user of Kafka, with the clients' defaults: acks=all, idempotent, retries for
 * two minutes. But for one: a client that has last heard of the brokers while only
 * one was alive would never find the other when that one dies.
 *
 * <pre>
 * Client create  BROKERS TOPIC PARTITIONS   two replicas of each
 * Client produce BROKERS TOPIC              one record after another, until SIGTERM
 * Client consume BROKERS TOPIC              every record that is in it now
 * </pre>
 *
 * produce prints "MILLISECONDS written N" for each record that was acknowledged
 * and "MILLISECONDS failed N REASON" for one that was given up; consume prints
 * the numbers.
 */
public class Client {
    private static volatile boolean ended;

    public static void main(String[] args) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args[1]);
        config.put("metadata.recovery.strategy", "rebootstrap");
        switch (args[0]) {
            case "create":
                create(config, args[2], Integer.parseInt(args[3]));
                break;
            case "produce":
                produce(config, args[2]);
                break;
            case "consume":
                consume(config, args[2]);
                break;
            default:
                throw new IllegalArgumentException(args[0]);
        }
    }

    private static void create(Map<String, Object> config, String topic, int partitions) throws Exception {
        try (Admin admin = Admin.create(config)) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 2))).all().get();
        }
    }

    private static void produce(Map<String, Object> config, String topic) throws Exception {
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            ended = true;
            try {
                main.join();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            int partitions = producer.partitionsFor(topic).size();
            for (int n = 0; !ended; n++) {
                String result = "written " + n;
                try {
                    producer.send(new ProducerRecord<>(topic, n % partitions, null, String.valueOf(n))).get();
                } catch (Exception e) {
                    result = "failed " + n + " " + e;
                }
                System.out.println(System.currentTimeMillis() + " " + result);
                Thread.sleep(20);
            }
        }
    }

    private static void consume(Map<String, Object> config, String topic) {
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (PartitionInfo p : consumer.partitionsFor(topic)) {
                partitions.add(new TopicPartition(topic, p.partition()));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    System.out.println(record.value());
                }
            }
        }
    }
}
