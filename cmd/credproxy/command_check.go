package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/credproxy/credproxy/admin/client"
	"github.com/credproxy/credproxy/check"
)

func checkCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [-c FILE] [SECRET_ARN...]",
		Short: "Walk the way to each database and say what is wrong",
		Long: `Check reads the configuration as run does, and then goes the way of a login to each
database. It prints a line per step. If a step fails, it says what to do:

  configuration  the file, and the certificates it names
  credential     the secret can be read and is one of a database; its rotation
  dns            the host has an address
  tcp            the port answers
  tls            the certificates hold, and until when
  login          the database takes the credential
  rights         what the configuration asks of the user: IAM, session.role
  servers        which server that is, and the others, with role writer or reader

Discover in the file asks AWS once, and the databases that it finds are checked, too.

It listens nowhere and changes nothing. Certificates that end within 30 days and
rotations that hang are warnings, which fail no check.

Exit status: 0 all is well; 1 a step failed; 2 bad usage or configuration.`,
		Example: `  credproxy check -c /etc/credproxy/credproxy.yaml
  credproxy check arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf
  credproxy check -c credproxy.yaml --json | jq '.databases[].steps[] | select(.result == "failed")'`,
		RunE: func(cmd *cobra.Command, arns []string) error {
			cfg, err := loadConfig(cmd, file, arns)
			if err != nil {
				return err
			}
			return printChecks(cmd.OutOrStdout(), check.Run(cmd.Context(), cfg), asJSON)
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the steps as JSON")
	return cmd
}

// printChecks writes what was found, and returns the command's error.
func printChecks(w io.Writer, all []check.Report, asJSON bool) error {
	if !asJSON {
		for _, c := range all {
			if err := writeCheckup(w, c); err != nil {
				return err
			}
		}
	}
	return verdict(all, w, asJSON)
}

func verdict(all []check.Report, w io.Writer, asJSON bool) error {
	failed, misconfigured := 0, false
	for _, c := range all {
		if !c.OK {
			failed++
			misconfigured = misconfigured || c.Misconfigured()
		}
	}
	if asJSON {
		text := indented(struct {
			OK        bool           `json:"ok"`
			Databases []check.Report `json:"databases"`
		}{failed == 0, all})
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	if failed == 0 {
		return nil
	}
	err := fmt.Errorf("the check of %d of %d databases failed", failed, len(all))
	if len(all) == 1 {
		err = errors.New("the check failed")
	}
	if misconfigured {
		return usageError{err}
	}
	return err
}

func writeCheckup(w io.Writer, c check.Report) error {
	fmt.Fprintln(w, c.Database)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range c.Steps {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", s.Result, s.Name, client.Visible(s.Detail))
		if s.Advice != "" {
			fmt.Fprintf(table, "  \t\t→ %s\n", client.Visible(s.Advice))
		}
	}
	return table.Flush()
}
