package fault

import (
	"fmt"
	"time"
)

// What the extension does once its time has come.
const (
	PermanentError   = "permanent_error"
	RecoverableError = "recoverable_error"
	Exit             = "exit"
)

// Config says which fault comes when.
type Config struct {
	// After is the time from the Collector's start to the fault; 0 means at once.
	After time.Duration `mapstructure:"after"`
	// Mode is permanent_error (the default), recoverable_error or exit.
	Mode string `mapstructure:"mode"`
	// Message is the text of the reported error.
	Message string `mapstructure:"message"`
	// ExitCode is what the process ends with in mode exit.
	ExitCode int `mapstructure:"exit_code"`
}

// Validate rejects what the extension could not carry out.
func (c *Config) Validate() error {
	if c.After < 0 {
		return fmt.Errorf("after: %s is negative", c.After)
	}
	switch c.Mode {
	case PermanentError, RecoverableError, Exit:
		return nil
	default:
		return fmt.Errorf("mode: %q is none of %s, %s, %s", c.Mode, PermanentError, RecoverableError, Exit)
	}
}
