package main

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/open-telemetry/opamp-go/client"
	"github.com/open-telemetry/opamp-go/client/types"
	"github.com/open-telemetry/opamp-go/protobufs"
)

const capabilities = protobufs.AgentCapabilities_AgentCapabilities_ReportsStatus |
	protobufs.AgentCapabilities_AgentCapabilities_AcceptsRemoteConfig |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsRemoteConfig |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsEffectiveConfig |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsHealth |
	protobufs.AgentCapabilities_AgentCapabilities_ReportsHeartbeat |
	protobufs.AgentCapabilities_AgentCapabilities_AcceptsRestartCommand

// agent is a pretended agent around the real client library.
type agent struct {
	options   options
	current   atomic.Pointer[connection]
	out       *printer
	started   time.Time
	connected atomic.Bool
	effective atomic.Pointer[protobufs.AgentConfigMap]
	// verdict is kept for the next connection.
	verdict atomic.Pointer[protobufs.RemoteConfigStatus]
}

func startAgent(o options) (*agent, error) {
	a := &agent{options: o, out: newPrinter(), started: time.Now()}
	a.effective.Store(&protobufs.AgentConfigMap{})
	a.out.print(event{Event: "started", UID: uuid.UUID(o.uid).String()})
	return a, a.connect(destination{endpoint: o.endpoint, header: o.httpHeader(), tls: o.tls, interval: o.interval})
}

func (a *agent) stop() error {
	err := a.current.Load().stop()
	a.out.print(event{Event: "stopped"})
	return err
}

func newClient(endpoint string) client.OpAMPClient {
	if strings.HasPrefix(endpoint, "http") {
		return client.NewHTTP(nil)
	}
	return client.NewWebSocket(nil)
}

// describe sets the health first: without it, the client refuses the capability to report it.
func (a *agent) describe(c client.OpAMPClient) error {
	if err := c.SetHealth(a.health("")); err != nil {
		return err
	}
	if err := c.SetAgentDescription(description(a.options.attributes)); err != nil {
		return err
	}
	granted := capabilities | a.options.capabilities()
	return c.SetCapabilities(&granted)
}

// client is the library's client that is connected now.
func (a *agent) client() client.OpAMPClient {
	return a.current.Load().client
}

func description(attributes []pair) *protobufs.AgentDescription {
	d := &protobufs.AgentDescription{}
	for _, attribute := range attributes {
		value := &protobufs.AnyValue{Value: &protobufs.AnyValue_StringValue{StringValue: attribute.value}}
		entry := &protobufs.KeyValue{Key: attribute.key, Value: value}
		if strings.HasPrefix(attribute.key, "service.") {
			d.IdentifyingAttributes = append(d.IdentifyingAttributes, entry)
		} else {
			d.NonIdentifyingAttributes = append(d.NonIdentifyingAttributes, entry)
		}
	}
	return d
}

func (a *agent) callbacks() types.Callbacks {
	return types.Callbacks{
		OnConnect:                 a.onConnect,
		OnConnectFailed:           a.onConnectFailed,
		OnError:                   a.onError,
		OnMessage:                 a.onMessage,
		OnCommand:                 a.onCommand,
		OnOpampConnectionSettings: a.onConnectionSettings,
		GetEffectiveConfig:        a.effectiveConfig,
	}
}

// onConnect is called for each answer by HTTP; only the first after a failure is an event.
func (a *agent) onConnect(context.Context) {
	byHTTP := strings.HasPrefix(a.options.endpoint, "http")
	if !a.connected.Swap(true) || !byHTTP {
		a.out.print(event{Event: "connected"})
	}
}

func (a *agent) onConnectFailed(_ context.Context, err error) {
	a.connected.Store(false)
	a.out.print(event{Event: "connect_failed", Error: err.Error()})
}

func (a *agent) onError(_ context.Context, response *protobufs.ServerErrorResponse) {
	a.out.print(event{Event: "server_error", Status: response.GetType().String(), Error: response.GetErrorMessage()})
}

func (a *agent) onCommand(_ context.Context, command *protobufs.ServerToAgentCommand) error {
	a.out.print(event{Event: "command", Command: command.GetType().String()})
	return nil
}

func (a *agent) onMessage(ctx context.Context, message *types.MessageData) {
	if identification := message.AgentIdentification; identification != nil {
		a.out.print(event{Event: "uid", UID: uuidText(identification.GetNewInstanceUid())})
	}
	a.onTelemetrySettings(message)
	if message.RemoteConfig != nil {
		a.onRemoteConfig(ctx, message.RemoteConfig)
	}
}

func (a *agent) effectiveConfig(context.Context) (*protobufs.EffectiveConfig, error) {
	return &protobufs.EffectiveConfig{ConfigMap: a.effective.Load()}, nil
}

func uuidText(bytes []byte) string {
	uid, err := uuid.FromBytes(bytes)
	if err != nil {
		return err.Error()
	}
	return uid.String()
}
