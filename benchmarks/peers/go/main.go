// A reverse proxy on gorilla/websocket that adds permessage-deflate for an upstream without it.
//
// What its documentation advises is done: level 1 (its default), a shared pool of write buffers, read buffers of the
// size of many messages on the busy side, one goroutine for each direction, and messages copied through a buffer that
// is kept, not through a new allocation each.
package main

import (
	"bytes"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

var (
	listen   = flag.String("listen", "127.0.0.1:0", "address to listen on")
	upstream = flag.String("upstream", "", "ws://host:port")
	level    = flag.Int("level", 1, "compression level")
	deflate  = flag.Bool("upstream-deflate", false, "offer permessage-deflate to the upstream as well")
	buffer   = flag.Int("buffer", 4096, "bytes of read buffers")
	cert     = flag.String("cert", "", "certificate, for TLS")
	key      = flag.String("key", "", "its key")
)

var pool sync.Pool

func copyMessages(to, from *websocket.Conn, done chan<- struct{}) {
	defer func() { done <- struct{}{} }()
	var message bytes.Buffer
	for {
		kind, reader, err := from.NextReader()
		if err != nil {
			code, text := websocket.CloseGoingAway, ""
			if e, ok := err.(*websocket.CloseError); ok && e.Code != websocket.CloseAbnormalClosure {
				code, text = e.Code, e.Text
			}
			to.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, text))
			return
		}
		message.Reset()
		if _, err := io.Copy(&message, reader); err != nil {
			return
		}
		if err := to.WriteMessage(kind, message.Bytes()); err != nil {
			return
		}
	}
}

func main() {
	flag.Parse()
	dialer := websocket.Dialer{
		EnableCompression: *deflate,
		ReadBufferSize:    *buffer,
		WriteBufferSize:   *buffer,
		WriteBufferPool:   &pool,
	}
	upgrader := websocket.Upgrader{
		EnableCompression: true,
		ReadBufferSize:    4096,
		WriteBufferSize:   *buffer,
		WriteBufferPool:   &pool,
		CheckOrigin:       func(*http.Request) bool { return true },
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		to, _, err := dialer.Dial(strings.TrimSuffix(*upstream, "/")+r.URL.RequestURI(), nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer to.Close()
		client, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer client.Close()
		client.SetCompressionLevel(*level)
		to.SetCompressionLevel(*level)
		done := make(chan struct{}, 2)
		go copyMessages(client, to, done)
		copyMessages(to, client, done)
		<-done
		to.Close()
		client.Close()
		<-done
	})
	listening, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Print("listening on port ", strconv.Itoa(listening.Addr().(*net.TCPAddr).Port))
	if *cert != "" {
		log.Fatal(http.ServeTLS(listening, nil, *cert, *key))
	}
	log.Fatal(http.Serve(listening, nil))
}
