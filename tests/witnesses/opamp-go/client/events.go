package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"sync"

	"github.com/open-telemetry/opamp-go/protobufs"
)

// event is one line on standard output; the three witnesses share its fields.
type event struct {
	Event   string          `json:"event"`
	UID     string          `json:"uid,omitempty"`
	Hash    string          `json:"hash,omitempty"`
	Files   map[string]file `json:"files,omitempty"`
	Status  string          `json:"status,omitempty"`
	Command string          `json:"command,omitempty"`
	// Of settings of a connection: where to, with which headers, by what to check the server.
	Class     string            `json:"class,omitempty"`
	Endpoint  string            `json:"endpoint,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	CA        string            `json:"ca,omitempty"`
	Heartbeat uint64            `json:"heartbeat,omitempty"`
	Error     string            `json:"error,omitempty"`
}

type file struct {
	ContentType string `json:"contentType"`
	Body        []byte `json:"body"` // encoding/json writes base64
}

// printer keeps lines whole: the client calls back from several goroutines.
type printer struct {
	mutex sync.Mutex
	lines *json.Encoder
}

func newPrinter() *printer {
	return &printer{lines: json.NewEncoder(os.Stdout)}
}

func (p *printer) print(e event) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	// A reader that went away is noticed through standard input.
	_ = p.lines.Encode(e)
}

func remoteConfigEvent(config *protobufs.AgentRemoteConfig) event {
	files := map[string]file{}
	for name, content := range config.GetConfig().GetConfigMap() {
		files[name] = file{ContentType: content.GetContentType(), Body: append([]byte{}, content.GetBody()...)}
	}
	return event{Event: "remote_config", Hash: hex.EncodeToString(config.GetConfigHash()), Files: files}
}
