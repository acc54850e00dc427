//go:build applications

package applications

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

// kafkaSession is zookeeper.session.timeout.ms: how long a dead broker is not
// missed. Kafka's own default is 18 s.
const kafkaSession = 6 * time.Second

// kafkaPartitions is how many the test's topic has, each on both brokers.
const kafkaPartitions = 4

// kafka is two brokers and what is needed to use them.
type kafka struct {
	servers  *onlooker
	commands map[int]command // by broker.id
	brokers  map[int]*program
	connect  string // of the brokers
	client   func(args ...string) []string
}

// TestKafka kills the broker that is the controller, then the leader of the
// servers, then both at once, while a producer writes.
func TestKafka(t *testing.T) {
	zoo := startZoo(t)
	k := startKafka(t, zoo)
	command{name: "create", argv: k.client("create", k.connect, "numbers", strconv.Itoa(kafkaPartitions))}.run(t, patience)
	w := startLoad(t, command{name: "producer", argv: k.client("produce", k.connect, "numbers")})
	w.awaitWrites(t, 50, patience)
	k.awaitReplicas(t)

	k.failover(t, w, nil)
	zoo.withoutLeader(t, "Kafka", w, kafkaSession, func() (string, error) {
		return k.servers.births("/kafka/controller", "/kafka/brokers/ids/1", "/kafka/brokers/ids/2")
	})
	leader := zoo.leader(t)
	k.failover(t, w, leader)
	zoo.revive(t, leader)

	w.end(t)
	w.check(t, command{name: "consume", argv: k.client("consume", k.connect, "numbers")}.run(t, patience))
}

func startKafka(t *testing.T, zoo *zoo) *kafka {
	t.Helper()
	client := absolute("kafka/Client.java")
	classes := classPath(t, "kafka")
	ports := zkprocess.FreePorts(t, "127.0.0.1", 2)
	k := &kafka{
		servers:  zoo.onlooker(t),
		commands: map[int]command{},
		brokers:  map[int]*program{},
		connect:  fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", ports[0], ports[1]),
		client:   func(args ...string) []string { return java(classes, nil, client, args...) },
	}
	for i, port := range ports {
		id := i + 1
		dir := t.TempDir()
		properties := filepath.Join(dir, "server.properties")
		text := fmt.Sprintf(`broker.id=%d
listeners=PLAINTEXT://127.0.0.1:%d
log.dirs=%s
zookeeper.connect=%s/kafka
zookeeper.session.timeout.ms=%d
offsets.topic.replication.factor=2
`, id, port, filepath.Join(dir, "data"), zoo.connect(), kafkaSession.Milliseconds())
		if err := os.WriteFile(properties, []byte(text), 0o600); err != nil {
			t.Fatalf("configure a broker: %v", err)
		}
		k.commands[id] = command{name: fmt.Sprintf("broker%d", id), dir: dir, argv: java(classes, nil, "kafka.Kafka", properties)}
		k.brokers[id] = k.commands[id].start(t)
	}
	eventually(t, patience, "two brokers and a controller", func() error {
		_, err := k.servers.births("/kafka/brokers/ids/1", "/kafka/brokers/ids/2", "/kafka/controller")
		return err
	})
	return k
}

// controller is the broker.id of the broker that is it.
func (k *kafka) controller() (int, error) {
	data, _, err := k.servers.get("/kafka/controller")
	if err != nil {
		return 0, err
	}
	var controller struct {
		BrokerID int `json:"brokerid"`
	}
	if err := json.Unmarshal(data, &controller); err != nil {
		return 0, fmt.Errorf("parse /kafka/controller: %w", err)
	}
	return controller.BrokerID, nil
}

// failover kills the controller, and just before it server unless nil. The other
// broker is to become the controller and to lead all partitions.
func (k *kafka) failover(t *testing.T, w *load, server *zkprocess.Server) {
	t.Helper()
	old, err := k.controller()
	if err != nil {
		t.Fatal(err)
	}
	session := fmt.Sprintf(" (session %v)", kafkaSession)
	start := time.Now()
	if server != nil {
		server.Kill()
	}
	k.brokers[old].kill()
	eventually(t, patience, "another controller", func() error {
		now, err := k.controller()
		if err == nil && now == old {
			err = fmt.Errorf("it is still broker %d", old)
		}
		return err
	})
	report(t, "Kafka", "broker killed: another is controller"+session, server != nil, time.Since(start))
	w.awaitWrites(t, 5*kafkaPartitions, patience)
	report(t, "Kafka", "broker killed: longest wait of a producer"+session, server != nil, w.longestWait(t, start))
	k.brokers[old] = k.commands[old].start(t)
	k.awaitReplicas(t)
}

// awaitReplicas waits until both brokers have all of every partition.
func (k *kafka) awaitReplicas(t *testing.T) {
	t.Helper()
	eventually(t, patience, "all partitions on both brokers", func() error {
		for partition := range kafkaPartitions {
			path := fmt.Sprintf("/kafka/brokers/topics/numbers/partitions/%d/state", partition)
			data, _, err := k.servers.get(path)
			if err != nil {
				return err
			}
			var state struct {
				ISR []int `json:"isr"`
			}
			if err := json.Unmarshal(data, &state); err != nil {
				return fmt.Errorf("parse %s: %w", path, err)
			}
			if len(state.ISR) != 2 {
				return fmt.Errorf("partition %d is on %v", partition, state.ISR)
			}
		}
		return nil
	})
}
