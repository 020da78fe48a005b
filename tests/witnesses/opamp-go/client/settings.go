package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/open-telemetry/opamp-go/client"
	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
)

// destination is how to reach a server.
type destination struct {
	endpoint string
	header   http.Header
	tls      *tls.Config
	interval time.Duration
}

// connection is one client of the library.
type connection struct {
	client client.OpAMPClient
}

func (c *connection) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.client.Stop(ctx)
}

// capabilities are those that the options add.
func (o options) capabilities() (granted protobufs.AgentCapabilities) {
	if o.settings != "" {
		granted |= protobufs.AgentCapabilities_AgentCapabilities_AcceptsOpAMPConnectionSettings |
			protobufs.AgentCapabilities_AgentCapabilities_ReportsConnectionSettingsStatus
	}
	if o.telemetry {
		granted |= protobufs.AgentCapabilities_AgentCapabilities_ReportsOwnMetrics |
			protobufs.AgentCapabilities_AgentCapabilities_ReportsOwnTraces |
			protobufs.AgentCapabilities_AgentCapabilities_ReportsOwnLogs
	}
	return granted
}

// connect starts a client in place of the one before.
func (a *agent) connect(to destination) error {
	next := &connection{client: newClient(to.endpoint)}
	if err := a.describe(next.client); err != nil {
		return err
	}
	a.current.Store(next)
	return next.client.Start(context.Background(), types.StartSettings{
		OpAMPServerURL:     to.endpoint,
		Header:             to.header,
		TLSConfig:          to.tls,
		InstanceUid:        a.options.uid,
		HeartbeatInterval:  &to.interval,
		RemoteConfigStatus: a.verdict.Load(),
		Callbacks:          a.callbacks(),
	})
}

func (a *agent) onConnectionSettings(_ context.Context, settings *protobufs.OpAMPConnectionSettings) error {
	a.out.print(settingsEvent(settings))
	if a.options.settings != settingsAccept {
		return errors.New(refusal)
	}
	// The library waits for this call before it stops.
	go a.move(settings)
	return nil
}

// move connects as the settings say, and as nothing else does.
func (a *agent) move(settings *protobufs.OpAMPConnectionSettings) {
	a.check(a.current.Load().stop())
	to := destination{
		endpoint: settings.GetDestinationEndpoint(),
		header:   http.Header{},
		interval: time.Duration(settings.GetHeartbeatIntervalSeconds()) * time.Second,
	}
	for _, header := range settings.GetHeaders().GetHeaders() {
		to.header.Add(header.GetKey(), header.GetValue())
	}
	if pem := settings.GetTls().GetCaPemContents(); pem != "" {
		to.tls = &tls.Config{RootCAs: x509.NewCertPool()}
		to.tls.RootCAs.AppendCertsFromPEM([]byte(pem))
	}
	a.check(a.connect(to))
	a.out.print(event{Event: "moved", Endpoint: to.endpoint})
}

// onTelemetrySettings tells where to send what the agent has to say of itself.
func (a *agent) onTelemetrySettings(message *types.MessageData) {
	for class, settings := range map[string]*protobufs.TelemetryConnectionSettings{
		"metrics": message.OwnMetricsConnSettings,
		"traces":  message.OwnTracesConnSettings,
		"logs":    message.OwnLogsConnSettings,
	} {
		if settings != nil {
			a.out.print(event{
				Event:    "telemetry_settings",
				Class:    class,
				Endpoint: settings.GetDestinationEndpoint(),
				Headers:  headerMap(settings.GetHeaders()),
				Hash:     hex.EncodeToString(message.OfferedConnectionsSettingsHash),
			})
		}
	}
}

func settingsEvent(settings *protobufs.OpAMPConnectionSettings) event {
	return event{
		Event:     "connection_settings",
		Endpoint:  settings.GetDestinationEndpoint(),
		Headers:   headerMap(settings.GetHeaders()),
		CA:        settings.GetTls().GetCaPemContents(),
		Heartbeat: settings.GetHeartbeatIntervalSeconds(),
	}
}

func headerMap(headers *protobufs.Headers) map[string]string {
	named := map[string]string{}
	for _, header := range headers.GetHeaders() {
		named[header.GetKey()] = header.GetValue()
	}
	return named
}
