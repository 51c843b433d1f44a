# DBD::mysql: perl dbd_mysql.pl HOST PORT. It is built upon MariaDB's client library.
use strict;
use warnings;
use utf8;
use DBI;
use JSON::PP;

my ($host, $port) = @ARGV;
my $text = 'naïve 日本 😀';
my $c = DBI->connect("DBI:mysql:database=app;host=$host;port=$port;mysql_server_prepare=1", 'anybody', '',
    { RaiseError => 1, PrintError => 0, mysql_enable_utf8mb4 => 1 });
my ($sum, $echo) = $c->selectrow_array('SELECT ? + ?, ?', undef, 40, 2, $text);
$c->do('CREATE TABLE dbd (t VARCHAR(50) CHARACTER SET utf8mb4)');
my $insert = $c->prepare('INSERT INTO dbd VALUES (?)');
$c->begin_work;
$insert->execute('rolled back');
$c->rollback;
$c->begin_work;
$insert->execute($text);
$c->commit;
my $rows = $c->selectcol_arrayref('SELECT t FROM dbd');
my ($user) = $c->selectrow_array('SELECT CURRENT_USER()');
eval { $c->do('SELECT * FROM nowhere') };
my $error = $c->err . ' ' . $c->state;
$c->disconnect;
print JSON::PP->new->utf8->encode({ sum => $sum + 0, text => $echo, rows => $rows, user => $user, error => $error }), "\n";
