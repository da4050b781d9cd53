// A server on the Centrifuge library. Any client may connect, subscribe to the channel `announce` and publish to it.
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

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: centrifuge HOST:PORT")
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

	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: ""}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(e centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			if e.Channel != channel {
				answer(centrifuge.SubscribeReply{}, centrifuge.ErrorPermissionDenied)
				return
			}
			answer(centrifuge.SubscribeReply{}, nil)
		})
		// An empty reply makes Centrifuge publish the message, without history because none is requested.
		client.OnPublish(func(e centrifuge.PublishEvent, answer centrifuge.PublishCallback) {
			if e.Channel != channel {
				answer(centrifuge.PublishReply{}, centrifuge.ErrorPermissionDenied)
				return
			}
			answer(centrifuge.PublishReply{}, nil)
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
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
