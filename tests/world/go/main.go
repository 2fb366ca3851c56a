// WebSocket conversations on gorilla/websocket, as a client or as an echoing upstream, in JSON lines.
//
// client: reads a job a line, {url, offer, script}, and writes a result for each. The script is a file of messages: kind T or
// B, length in four bytes, payload. upstream: gets, as JSON, whether each upstream compresses by its name; writes their
// ports by name, then a line for each connection that has ended.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	extensions    = "Sec-WebSocket-Extensions"
	burstBytes    = 65536
	burstMessages = 32
	// Small, so that longer messages go in fragments, compressed or not.
	writeBuffer = 1024
	patience    = 30 * time.Second
)

var output sync.Mutex

func say(value any) {
	output.Lock()
	defer output.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		log.Fatal(err)
	}
}

type message struct {
	kind    int
	payload []byte
}

type digest struct {
	hash  hash.Hash
	count int
}

func newDigest() *digest { return &digest{hash: sha256.New()} }

func (d *digest) add(m message) {
	head := make([]byte, 5)
	head[0] = 'T'
	if m.kind == websocket.BinaryMessage {
		head[0] = 'B'
	}
	binary.BigEndian.PutUint32(head[1:], uint32(len(m.payload)))
	d.hash.Write(head)
	d.hash.Write(m.payload)
	d.count++
}

func (d *digest) String() string { return hex.EncodeToString(d.hash.Sum(nil)) }

// closing says what ended a connection: its close frame, or the error.
func closing(err error) (code int, reason, fault string) {
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		return closed.Code, closed.Text, ""
	}
	return 0, "", err.Error()
}

type job struct {
	URL    string          `json:"url"`
	Offer  json.RawMessage `json:"offer"`
	Script string          `json:"script"`
}

type result struct {
	Answered string `json:"answered"`
	Echoes   int    `json:"echoes"`
	Digest   string `json:"digest"`
	Code     int    `json:"code"`
	Reason   string `json:"reason"`
	Error    string `json:"error"`
}

func readScript(path string) ([]message, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var messages []message
	for len(data) > 0 {
		kind := websocket.TextMessage
		if data[0] == 'B' {
			kind = websocket.BinaryMessage
		}
		length := binary.BigEndian.Uint32(data[1:5])
		messages = append(messages, message{kind, data[5 : 5+length]})
		data = data[5+length:]
	}
	return messages, nil
}

func exchange(conn *websocket.Conn, messages []message, echoes *digest) error {
	for sent := 0; sent < len(messages); {
		first := sent
		for size := 0; sent < len(messages) && size < burstBytes && sent-first < burstMessages; sent++ {
			m := messages[sent]
			size += len(m.payload)
			// Compressed and uncompressed messages in turn, as the protocol allows.
			conn.EnableWriteCompression(sent%5 != 0)
			if err := conn.WriteMessage(m.kind, m.payload); err != nil {
				return err
			}
		}
		for range messages[first:sent] {
			kind, payload, err := conn.ReadMessage()
			if err != nil {
				return err
			}
			echoes.add(message{kind, payload})
		}
	}
	done := websocket.FormatCloseMessage(4001, "done")
	if err := conn.WriteControl(websocket.CloseMessage, done, time.Now().Add(patience)); err != nil {
		return err
	}
	_, _, err := conn.ReadMessage()
	return err
}

func converse(j job) (seen result) {
	messages, err := readScript(j.Script)
	if err != nil {
		seen.Error = err.Error()
		return seen
	}
	dialer := websocket.Dialer{EnableCompression: string(j.Offer) != "null", WriteBufferSize: writeBuffer}
	conn, answer, err := dialer.Dial(j.URL, nil)
	if answer != nil {
		seen.Answered = answer.Header.Get(extensions)
	}
	if err != nil {
		seen.Error = err.Error()
		return seen
	}
	defer conn.Close()
	echoes := newDigest()
	seen.Code, seen.Reason, seen.Error = closing(exchange(conn, messages, echoes))
	seen.Echoes, seen.Digest = echoes.count, echoes.String()
	return seen
}

func client() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var j job
		if err := json.Unmarshal(lines.Bytes(), &j); err != nil {
			log.Fatal(err)
		}
		say(converse(j))
	}
}

type arrived struct {
	Path     string `json:"path"`
	Asked    string `json:"asked"`
	Answered string `json:"answered"`
	Messages int    `json:"messages"`
	Digest   string `json:"digest"`
	Code     int    `json:"code"`
	Reason   string `json:"reason"`
	Error    string `json:"error"`
}

// noted keeps what was answered: the library writes its answer past the ResponseWriter.
type noted struct {
	net.Conn
	answer []byte
}

func (n *noted) Write(data []byte) (int, error) {
	if n.answer == nil {
		n.answer = append([]byte{}, data...)
	}
	return n.Conn.Write(data)
}

type hijacker struct {
	http.ResponseWriter
	conn *noted
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := h.ResponseWriter.(http.Hijacker).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = &noted{Conn: conn}
	// The server's own write buffer would lead past the one that takes notes.
	return h.conn, bufio.NewReadWriter(buffers.Reader, bufio.NewWriter(h.conn)), nil
}

func (h *hijacker) answered() string {
	lines := bufio.NewReader(bytes.NewReader(h.conn.answer))
	answer, err := http.ReadResponse(lines, nil)
	if err != nil {
		return err.Error()
	}
	return answer.Header.Get(extensions)
}

func echo(upgrader *websocket.Upgrader, w http.ResponseWriter, r *http.Request) {
	spy := &hijacker{ResponseWriter: w}
	conn, err := upgrader.Upgrade(spy, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	seen := arrived{Path: r.URL.RequestURI(), Asked: r.Header.Get(extensions), Answered: spy.answered()}
	messages := newDigest()
	for {
		kind, payload, err := conn.ReadMessage()
		if err == nil {
			messages.add(message{kind, payload})
			err = conn.WriteMessage(kind, payload)
		}
		if err != nil {
			seen.Code, seen.Reason, seen.Error = closing(err)
			break
		}
	}
	seen.Messages, seen.Digest = messages.count, messages.String()
	say(seen)
}

func upstream(variants string) {
	var compresses map[string]bool
	if err := json.Unmarshal([]byte(variants), &compresses); err != nil {
		log.Fatal(err)
	}
	ports := map[string]int{}
	for name, compress := range compresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		upgrader := &websocket.Upgrader{
			EnableCompression: compress,
			WriteBufferSize:   writeBuffer,
			CheckOrigin:       func(*http.Request) bool { return true },
		}
		handle := func(w http.ResponseWriter, r *http.Request) { echo(upgrader, w, r) }
		go func() { log.Fatal(http.Serve(listener, http.HandlerFunc(handle))) }()
		ports[name] = listener.Addr().(*net.TCPAddr).Port
	}
	say(ports)
	select {}
}

func main() {
	if os.Args[1] == "client" {
		client()
		return
	}
	upstream(os.Args[2])
}
