<?php
// PHP asks for compression whatever the greeting offers: php compress.php HOST PORT.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
[, $host, $port] = $argv;
$long = str_repeat('text that packs well ', 20000);

$c = mysqli_init();
$c->real_connect($host, 'anybody', '', 'app', (int)$port, null, MYSQLI_CLIENT_COMPRESS);
$bytes = strlen($c->query("SELECT '$long'")->fetch_row()[0]);
$c->change_user('somebody', '', 'app');
$short = $c->query('SELECT 1')->fetch_row()[0];
$rows = $c->query("SELECT REPEAT('x', 1000) FROM information_schema.columns a, information_schema.columns b LIMIT 5000")->num_rows;
$c->close();

$p = new PDO("mysql:host=$host;port=$port;dbname=app", 'anybody', '', [PDO::MYSQL_ATTR_COMPRESS => true, PDO::ATTR_EMULATE_PREPARES => false]);
$s = $p->prepare('SELECT LENGTH(?)');
$s->execute([$long]);
echo json_encode(['bytes' => $bytes, 'short' => (int)$short, 'rows' => $rows, 'pdo' => (int)$s->fetchColumn(), 'sent' => strlen($long)]), "\n";
