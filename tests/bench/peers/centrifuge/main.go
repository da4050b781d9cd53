// A server on the Centrifuge library. Any client may connect, subscribe to the channel `announce` and publish to it.
//
//	centrifuge HOST:PORT                          a single server
//	centrifuge HOST:PORT REDIS_HOST:PORT          one of several that share a Redis
//	centrifuge HOST:PORT REDIS_HOST:PORT history  likewise; Redis keeps what is published
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/centrifugal/centrifuge"
)

const channel = "announce"

// How much Redis keeps with history: the defaults of the gateway's log.
const (
	historySize = 100_000
	historyTTL  = 10 * time.Minute
)

func main() {
	arguments := os.Args[1:]
	keepsHistory := len(arguments) == 3 && arguments[2] == "history"
	if len(arguments) < 1 || len(arguments) > 2 && !keepsHistory {
		log.Fatal("usage: centrifuge HOST:PORT [REDIS_HOST:PORT [history]]")
	}

	config := centrifuge.DefaultConfig
	// Bytes that may wait for one client before it counts as too slow.
	config.ClientQueueMaxSize = 256 << 20
	config.ClientStaleCloseDelay = time.Minute
	// Presence is not used; its timer would only wake every connection.
	config.ClientPresenceUpdateInterval = time.Hour

	node, err := centrifuge.New(config)
	if err != nil {
		log.Fatal(err)
	}

	if len(arguments) > 1 {
		shareRedis(node, arguments[1], keepsHistory)
	}

	// Empty without history. With it, clients can resume after the last publication that they have received.
	subscribing := centrifuge.SubscribeOptions{Recover: keepsHistory}
	publishing := centrifuge.PublishOptions{}
	if keepsHistory {
		publishing = centrifuge.PublishOptions{HistorySize: historySize, HistoryTTL: historyTTL}
	}

	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: ""}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(e centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			if e.Channel != channel {
				answer(centrifuge.SubscribeReply{}, centrifuge.ErrorPermissionDenied)
				return
			}
			answer(centrifuge.SubscribeReply{Options: subscribing}, nil)
		})
		// A reply without a result makes Centrifuge publish the message.
		client.OnPublish(func(e centrifuge.PublishEvent, answer centrifuge.PublishCallback) {
			if e.Channel != channel {
				answer(centrifuge.PublishReply{}, centrifuge.ErrorPermissionDenied)
				return
			}
			answer(centrifuge.PublishReply{Options: publishing}, nil)
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}

	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		Compression:        false,
		PingInterval:       time.Hour,
		WriteTimeout:       time.Hour,
		UseWriteBufferPool: true,
		CheckOrigin:        func(*http.Request) bool { return true },
	}))
	log.Fatal(http.ListenAndServe(arguments[0], nil))
}

// Makes the node one of several that publish and subscribe through the Redis at address.
func shareRedis(node *centrifuge.Node, address string, keepsHistory bool) {
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: address})
	if err != nil {
		log.Fatal(err)
	}
	prefix := centrifuge.DefaultRedisBrokerPrefix
	if keepsHistory {
		prefix += "-history"
	}
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{
		// Servers with and without history may share a Redis and do not receive each other's messages.
		Prefix: prefix,
		// Centrifuge recommends streams over lists for longer histories.
		UseStreams: true,
		Shards:     []*centrifuge.RedisShard{shard},
	})
	if err != nil {
		log.Fatal(err)
	}
	node.SetBroker(broker)
}
