package main

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/open-telemetry/opamp-go/protobufs"
)

const refusal = "refused on demand"

// onRemoteConfig answers as the mode says.
func (a *agent) onRemoteConfig(ctx context.Context, config *protobufs.AgentRemoteConfig) {
	a.out.print(remoteConfigEvent(config))
	switch a.options.mode {
	case modeApply:
		a.apply(ctx, config)
	case modeFail:
		a.fail(config)
	case modeSilent:
	}
}

func (a *agent) apply(ctx context.Context, config *protobufs.AgentRemoteConfig) {
	a.effective.Store(config.GetConfig())
	a.report(config, protobufs.RemoteConfigStatuses_RemoteConfigStatuses_APPLIED, "")
	a.check(a.client().UpdateEffectiveConfig(ctx))
	a.check(a.reportHealth(""))
}

func (a *agent) fail(config *protobufs.AgentRemoteConfig) {
	a.report(config, protobufs.RemoteConfigStatuses_RemoteConfigStatuses_FAILED, refusal)
	a.check(a.reportHealth(refusal))
}

func (a *agent) report(config *protobufs.AgentRemoteConfig, status protobufs.RemoteConfigStatuses, problem string) {
	verdict := &protobufs.RemoteConfigStatus{
		LastRemoteConfigHash: config.GetConfigHash(),
		Status:               status,
		ErrorMessage:         problem,
	}
	a.verdict.Store(verdict)
	a.check(a.client().SetRemoteConfigStatus(verdict))
	name := status.String()[len("RemoteConfigStatuses_"):]
	a.out.print(event{Event: "status", Status: name, Hash: hex.EncodeToString(config.GetConfigHash()), Error: problem})
}

// reportHealth says healthy unless there is a problem.
func (a *agent) reportHealth(problem string) error {
	return a.client().SetHealth(a.health(problem))
}

func (a *agent) health(problem string) *protobufs.ComponentHealth {
	health := &protobufs.ComponentHealth{
		Healthy:            problem == "",
		StartTimeUnixNano:  uint64(a.started.UnixNano()),
		StatusTimeUnixNano: uint64(time.Now().UnixNano()),
		Status:             "StatusOK",
		LastError:          problem,
	}
	if problem != "" {
		health.Status = "StatusPermanentError"
	}
	return health
}

func (a *agent) check(err error) {
	if err != nil {
		a.out.print(event{Event: "client_error", Error: err.Error()})
	}
}
