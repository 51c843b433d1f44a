package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/credproxy/credproxy/config"
)

// variableOf is the environment variable that a flag can also be set by.
func variableOf(f *pflag.Flag) string { return config.Setting{Flag: f.Name}.Env() }

// setBy is the annotation of a flag that its variable has set.
const setBy = "set by"

// nameVariables writes each flag's variable into its help.
func nameVariables(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Usage += " (" + variableOf(f) + ")" })
	for _, sub := range cmd.Commands() {
		nameVariables(sub)
	}
}

// fromEnvironment sets the flags that the command line does not.
func fromEnvironment(cmd *cobra.Command) (err error) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		value, given := os.LookupEnv(variableOf(f))
		if !given || f.Changed || f.Name == "help" || err != nil {
			return
		}
		if e := f.Value.Set(value); e != nil {
			err = usageError{fmt.Errorf("%s: %q is not valid here; write a %s", variableOf(f), value, strings.Replace(f.Value.Type(), "int", "whole number", 1))}
			return
		}
		f.Changed = true
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[setBy] = []string{variableOf(f)}
	})
	return err
}

// origin names what set a flag: itself, or its variable.
func origin(f *pflag.Flag) string {
	if variable := f.Annotations[setBy]; variable != nil {
		return variable[0]
	}
	return "--" + f.Name
}
