package fault

import (
	"context"
	"errors"
	"os"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension"
)

// faulty waits and then misbehaves once, unless it is shut down first.
type faulty struct {
	config *Config
	id     *componentstatus.InstanceID
	timer  *time.Timer
}

// Start arms the fault and returns at once, so that the Collector first comes up healthy.
func (f *faulty) Start(_ context.Context, host component.Host) error {
	f.timer = time.AfterFunc(f.config.After, func() { f.misbehave(host) })
	return nil
}

// Shutdown disarms the fault.
func (f *faulty) Shutdown(context.Context) error {
	if f.timer != nil {
		f.timer.Stop()
	}
	return nil
}

func (f *faulty) misbehave(host component.Host) {
	err := errors.New(f.config.Message)
	switch f.config.Mode {
	case PermanentError:
		f.report(host, componentstatus.NewPermanentErrorEvent(err))
	case RecoverableError:
		f.report(host, componentstatus.NewRecoverableErrorEvent(err))
	case Exit:
		os.Exit(f.config.ExitCode)
	}
}

// report tells the watchers itself, opampextension among them: the host takes
// status events from the components of pipelines, but drops those of extensions.
func (f *faulty) report(host component.Host, event *componentstatus.Event) {
	for _, other := range host.GetExtensions() {
		if watcher, ok := other.(componentstatus.Watcher); ok {
			watcher.ComponentStatusChanged(f.id, event)
		}
	}
}

func newFaulty(_ context.Context, settings extension.Settings, config component.Config) (extension.Extension, error) {
	id := componentstatus.NewInstanceID(settings.ID, component.KindExtension)
	return &faulty{config: config.(*Config), id: id}, nil
}
