package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/credproxy/credproxy/config"
)

// loadConfig is what run runs with: the file or the secrets, with the environment
// and the flags laid over.
func loadConfig(cmd *cobra.Command, file string, arns []string) (*config.Config, error) {
	cfg, err := readConfig(cmd, file, arns)
	if err != nil {
		return nil, err
	}
	for _, s := range config.Settings() {
		value, given := os.LookupEnv(s.Env())
		from := s.Env()
		if f := cmd.Flags().Lookup(s.Flag); f != nil { // check has only the variables
			value, given, from = f.Value.String(), f.Changed, origin(f)
		}
		if !given {
			continue
		}
		if err := cfg.Set(s.Key, value); err != nil {
			return nil, usageError{fmt.Errorf("%s: %w", from, err)}
		}
	}
	if f := cmd.Flags().Lookup("debug"); f != nil && f.Value.String() == "true" { // only run has it
		level := cmd.Flags().Lookup("log-level")
		if origin(f) == "--debug" || !level.Changed || origin(level) != "--log-level" { // a variable goes before no flag
			cfg.Log.Level = "debug"
		}
	}
	return cfg, nil
}

// configFlag gives a command the flag that names the configuration file.
func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "configuration file")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // for completion; the flag exists
}

// readConfig reads the file or makes a configuration of secrets. Secrets on the
// command line go before a file that only the environment names.
func readConfig(cmd *cobra.Command, file string, arns []string) (cfg *config.Config, err error) {
	if len(arns) > 0 && origin(cmd.Flags().Lookup("config")) != "--config" {
		file = ""
	}
	switch {
	case file != "" && len(arns) > 0:
		err = errors.New("give a configuration file or secrets, not both; secrets can stand in the file")
	case file != "":
		cfg, err = config.Load(file)
	case len(arns) > 0:
		cfg, err = config.ForSecrets(arns)
	default:
		err = errors.New("no configuration; give the ARN of a secret, or a file with -c")
	}
	if err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
}
