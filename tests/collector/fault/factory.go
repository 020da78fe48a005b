// Package fault is a Collector extension that turns unhealthy, or ends the
// process, a set time after the start. Stock components do neither on demand,
// and the gates of a rollout are only proven by a revision that goes bad late.
package fault

import (
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
)

// NewFactory makes the extension known to the Collector as "fault".
func NewFactory() extension.Factory {
	return extension.NewFactory(
		component.MustNewType("fault"),
		defaultConfig,
		newFaulty,
		component.StabilityLevelDevelopment,
	)
}

func defaultConfig() component.Config {
	return &Config{Mode: PermanentError, Message: "fault on demand", ExitCode: 1}
}
