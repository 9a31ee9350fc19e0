/**
 * Prints the dashboard "Storage API: Runbooks" as JSON. It shows the pages of docs/runbooks,
 * because the repository has no public address to which an alert could link. Grafana loads it from
 * dashboards/storage-api-runbooks.json, which `npm run dashboard` writes.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as sdk from '@grafana/grafana-foundation-sdk/dashboard'
import * as text from '@grafana/grafana-foundation-sdk/text'

const UID = 'storage-api-runbooks'
const DIRECTORY = join(import.meta.dirname, '../../docs/runbooks')
const HEIGHT = 20

/** The names of the pages: README, the overview, and then one page per alert. */
export const RUNBOOKS = readdirSync(DIRECTORY)
  .map((file) => file.replace(/\.md$/, ''))
  .sort()

/** The address at which Grafana shows one page alone. */
export const runbookUrl = (name: string) => `/d/${UID}?viewPanel=panel-${RUNBOOKS.indexOf(name) + 1}`

const title = (name: string) => (name === 'README' ? 'Runbooks' : name)

/**
 * A link of a panel or a dashboard. The SDK's builder would hide the links of a dashboard in a
 * menu.
 */
export const link = (title: string, url: string) => ({
  build: (): sdk.DashboardLink => ({
    ...{ title, url, type: sdk.DashboardLinkType.Link, icon: 'doc', tooltip: '', tags: [] },
    ...{ asDropdown: false, targetBlank: false, includeVars: false, keepTime: false },
  }),
})
export const runbookLink = (name: string) => link(title(name), runbookUrl(name))

/**
 * The page, in which links to other pages lead to their panels. Links to other documents become
 * paths.
 */
const markdown = (name: string) =>
  readFileSync(join(DIRECTORY, `${name}.md`), 'utf8')
    .replace(/^# .*\n+/, '')
    .replace(/\]\((\w+)\.md\)/g, (_, page) => `](${runbookUrl(page)})`)
    .replace(/\[[^\]]*\]\(\.\.\/([^)#]*)[^)]*\)/g, '`docs/$1`')

if (import.meta.main) {
  const dashboard = new sdk.DashboardBuilder('Storage API: Runbooks')
    .uid(UID)
    .description('What to do when an alert fires')
    .tags(['storage-api'])
    .readonly()
    .links([link('Storage API', '/d/storage-api')])
  for (const [i, name] of RUNBOOKS.entries()) {
    const panel = new text.PanelBuilder()
      .title(title(name))
      .id(i + 1)
      .mode(text.TextMode.Markdown)
    dashboard.withPanel(panel.content(markdown(name)).gridPos({ x: 0, y: i * HEIGHT, w: 24, h: HEIGHT }))
  }
  console.log(JSON.stringify(dashboard.build(), null, 2))
}
