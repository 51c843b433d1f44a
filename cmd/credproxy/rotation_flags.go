package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/rotation"
	"github.com/credproxy/credproxy/rotation/store"
	"github.com/credproxy/credproxy/wiring"
)

// rotationFlags gives a command the flags that say how a secret is rotated. The function
// it returns makes what rotates; its progress goes to the command's output.
func rotationFlags(cmd *cobra.Command) func(secretID string) (*rotation.Rotation, error) {
	var settings rotation.Settings
	var link wiring.Link
	var region, strategy string
	retain := true
	flags := cmd.Flags()
	flags.StringVar(&strategy, "strategy", "", "single or alternating (default: alternating if the secret names a master's)")
	_ = cmd.RegisterFlagCompletionFunc("strategy", cobra.FixedCompletions([]string{"single", "alternating"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	flags.StringVar(&settings.Master, "master", "", "secret of the master, who makes the changes (default: the secret's masterarn)")
	flags.StringVar(&settings.Owner, "owner-role", "", "PostgreSQL: role that owns what the alternating users make")
	flags.BoolVar(&settings.AllowMD5, "allow-md5", false, "PostgreSQL: a role with an md5 password gets one again")
	flags.BoolVar(&retain, "retain", true, "MySQL and MariaDB: the password before works until the next rotation, where the server can do that")
	flags.StringVar(&region, "region", "", "region of the secret (default: its ARN's, else the SDK's)")
	flags.StringVar(&link.CAFile, "tls-ca-file", "", "certificates that the database's must chain to (default: the system's and RDS's)")
	flags.StringVar(&link.ServerName, "tls-server-name", "", "name in the database's certificate (default: the host)")
	flags.IntVar(&settings.Password.Length, "password-length", 32, "characters of a new password")
	flags.StringVar(&settings.Password.Exclude, "exclude-characters", rotation.DefaultExclude, "characters that are in no new password")
	return func(secretID string) (*rotation.Rotation, error) {
		switch settings.Strategy = rotation.Strategy(strategy); settings.Strategy {
		case rotation.Auto, rotation.Single, rotation.Alternating:
		default:
			return nil, usageError{fmt.Errorf("--strategy: %q is none; write single or alternating", strategy)}
		}
		if err := settings.Password.Validate(); err != nil {
			return nil, usageError{err}
		}
		settings.NoRetain = !retain
		settings.Password.EachClass = true // what servers' policies ask for
		if region == "" {
			region = store.RegionOf(secretID)
		}
		r, err := wiring.NewRotation(cmd.Context(), settings, link, region, "", zap.NewNop())
		if err != nil {
			return nil, err
		}
		r.Progress = func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) }
		return r, nil
	}
}
