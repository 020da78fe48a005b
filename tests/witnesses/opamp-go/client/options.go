package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/open-telemetry/opamp-go/client/types"
)

// What the agent does with a remote configuration.
const (
	modeApply  = "apply"
	modeFail   = "fail"
	modeSilent = "silent"
)

// What the agent does with settings of its connection; without any of these it does not take them.
const (
	settingsAccept = "accept"
	settingsRefuse = "refuse"
)

type options struct {
	endpoint   string
	uid        types.InstanceUid
	attributes []pair
	headers    []pair
	mode       string
	settings   string
	telemetry  bool
	interval   time.Duration
	tls        *tls.Config
}

type pair struct{ key, value string }

func parseOptions(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("opamp-go-client", flag.ContinueOnError)
	uid := flags.String("uid", "", "instance uid as a UUID (default: a new one)")
	ca := flags.String("ca", "", "file with the certificates to trust")
	cert := flags.String("cert", "", "file with the client certificate")
	key := flags.String("key", "", "file with the client certificate's key")
	milliseconds := flags.Int("interval-ms", 0, "heartbeat or polling interval (default: 30000 by WebSocket, 250 by HTTP)")
	flags.StringVar(&o.endpoint, "endpoint", "", "ws://, wss://, http:// or https:// URL of the server")
	flags.StringVar(&o.mode, "mode", modeApply, "what to do with a configuration: apply, fail or silent")
	flags.StringVar(&o.settings, "settings", "", "what to do with settings of the connection: accept or refuse (default: take none)")
	flags.BoolVar(&o.telemetry, "telemetry", false, "report own metrics, traces and logs where the server says")
	flags.Func("attr", "attribute as `key=value`, repeatable; service.* are identifying", appendPair(&o.attributes))
	flags.Func("header", "request header as `name=value`, repeatable", appendPair(&o.headers))
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if len(o.attributes) == 0 {
		// The client library refuses an agent that says nothing of itself.
		o.attributes = []pair{{"service.name", flags.Name()}}
	}
	o.interval = interval(*milliseconds, o.endpoint)
	return o, o.complete(*uid, *ca, *cert, *key)
}

func (o *options) complete(uid, ca, cert, key string) (err error) {
	if o.endpoint == "" {
		return fmt.Errorf("--endpoint is missing")
	}
	if o.mode != modeApply && o.mode != modeFail && o.mode != modeSilent {
		return fmt.Errorf("--mode is %q, not apply, fail or silent", o.mode)
	}
	if o.settings != "" && o.settings != settingsAccept && o.settings != settingsRefuse {
		return fmt.Errorf("--settings is %q, not accept or refuse", o.settings)
	}
	if o.uid, err = instanceUID(uid); err != nil {
		return err
	}
	o.tls, err = tlsConfig(ca, cert, key)
	return err
}

func (o *options) httpHeader() http.Header {
	header := http.Header{}
	for _, h := range o.headers {
		header.Add(h.key, h.value)
	}
	return header
}

func appendPair(pairs *[]pair) func(string) error {
	return func(text string) error {
		key, value, found := strings.Cut(text, "=")
		if !found {
			return fmt.Errorf("%q has no =", text)
		}
		*pairs = append(*pairs, pair{key, value})
		return nil
	}
}

// interval polls fast by HTTP, where nothing arrives between two polls.
func interval(milliseconds int, endpoint string) time.Duration {
	switch {
	case milliseconds > 0:
		return time.Duration(milliseconds) * time.Millisecond
	case strings.HasPrefix(endpoint, "http"):
		return 250 * time.Millisecond
	default:
		return 30 * time.Second
	}
}

func instanceUID(text string) (types.InstanceUid, error) {
	if text == "" {
		uid, err := uuid.NewV7()
		return types.InstanceUid(uid), err
	}
	uid, err := uuid.Parse(text)
	return types.InstanceUid(uid), err
}

func tlsConfig(ca, cert, key string) (*tls.Config, error) {
	if ca == "" && cert == "" {
		return nil, nil
	}
	config := &tls.Config{}
	if ca != "" {
		certificates, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(certificates)
	}
	if cert != "" {
		identity, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{identity}
	}
	return config, nil
}
